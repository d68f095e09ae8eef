//! The control API: one table of routes over a unix socket.
//!
//! | method, path | does | answers |
//! |---|---|---|
//! | `GET /state` | all there is, one consistent picture | 200 `State`, `ETag` |
//! | `GET /config` | all that is wanted, as one document | 200 `Config`, `ETag` |
//! | `PUT /config` | `Config`: all of it is replaced in one step; what is the same goes on undisturbed | 204, `ETag` |
//! | `PATCH /config` | `Changes`: what it names is put, or taken away where it says `null`, in one step; targets that go are not waited for | 204, `ETag`, 409 full |
//! | `GET /front` | settings of the whole process | 200 `Front` |
//! | `PUT /front` | `Front`: all of them; what is left out has its default | 200 |
//! | `PUT /door` | clients are let in, after `--wait`; it stays open | 204 |
//! | `GET /tls` | how TLS connections are made | 200 `Tls` |
//! | `PUT /tls` | `Tls`: all of it; what is left out has its default | 200 |
//! | `PUT /tickets` | `Tickets`: what sessions are resumed by, the same in all proxies of a site | 204 |
//! | `GET /certificates/:name` | one certificate, without its key | 200 `CertificateView`, 404 |
//! | `PUT /certificates/:name` | `Certificate`: it is shown to whoever asks for one of its names | 201 new, 200 `CertificateView`, 409 full |
//! | `DELETE /certificates/:name` | it is shown to nobody any more | 204, 404 |
//! | `GET /acme` | which certificates are obtained, and how each stands; with `?after=REVISION&wait_ms=N` once that is another revision | 200 `AcmeView` |
//! | `PUT /acme` | `Acme`: all of it; what is left out has its default | 200 |
//! | `PUT /acme/certificates/:name` | `AcmeCertificate`: it is obtained, and kept up to date | 201 new, 200 |
//! | `DELETE /acme/certificates/:name` | it is shown no longer; what is stored of it stays | 204, 404 |
//! | `PUT /acme/certificates/:name/renew` | it is ordered now, whenever it would be | 202, 404 |
//! | `GET /acme/challenges` | records that have to be in a zone now | 200, by record `AcmeRecord` |
//! | `PUT /acme/challenges/:record` | `AcmePlaced`: it is there, or cannot be | 204, 404, 409 changed |
//! | `GET /routes/:host`, `/routes/:host/:prefix` | one route | 200 `Route`, 404 |
//! | `PUT /routes/:host`, `/routes/:host/:prefix` | `Route`: what becomes of requests for the host, below the prefix | 201 new, 200, 409 full |
//! | `DELETE /routes/:host`, `/routes/:host/:prefix` | the route is gone | 204, 404 |
//! | `GET /services/:service` | one service | 200 `ServiceView`, 404 |
//! | `PUT /services/:service` | `Service`: its settings | 201 new, 200, 409 full |
//! | `PUT /services/:service/pause` | `Pause`: its requests wait | 201 new, 200, 409 full |
//! | `DELETE /services/:service/pause` | they go on, in their order | 204, 404 |
//! | `PUT /services/:service/maintenance` | `Maintenance`: what is answered instead of its targets | 201 new, 200, 409 full |
//! | `DELETE /services/:service/maintenance` | its targets answer again | 204, 404 |
//! | `GET /services/:service/targets/:target` | one target | 200 `TargetView`, 404 |
//! | `PUT /services/:service/targets/:target` | `Target`: an address that answers for the service | 201 new, 200, 409 full |
//! | `DELETE /services/:service/targets/:target?grace_ms=N&stream_grace_ms=N` | no new request; returns when the ones in flight are done, or after the grace (10 s) | 200 `Drained`, 404 |
//! | `DELETE /services/:service?grace_ms=N&stream_grace_ms=N` | the same for all its targets | 200 `Drained`, 404 |
//!
//! Streams (tunnels, streams of events, answers longer than the grace) are not waited for: they end after the
//! service's `stream_grace_ms`. With `stream_grace_ms` in the query they end after that, and are waited for.
//!
//! What only watches is told in [`monitor`]. With `If-Match: "GENERATION"` a change is made only at that generation, else 412. Errors are
//! `ErrorBody`. A change is answered when every worker acts on it.

mod acme;
mod certificate;
mod change;
mod config;
mod door;
mod failure;
mod front;
mod maintenance;
mod metrics;
mod monitor;
mod path;
mod pause;
mod peer;
mod route;
mod service;
mod state;
mod target;
mod tls;

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{get, put};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub(crate) use crate::control::monitor::Monitor;
use crate::control::peer::Peer;
use crate::limits;
use crate::registry::Registry;
use crate::worker::Phase;

/// Creates the control socket, for its owner only. One that nobody listens on is replaced, and nothing
/// else: whatever has another kind may be somebody's.
pub(crate) fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Ok(there) = std::fs::symlink_metadata(path) {
        if !there.file_type().is_socket() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "there is something else, which is not a socket",
            ));
        }
        if UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another process is listening on it",
            ));
        }
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves the API to the end of the process: while it drains, targets come and go as before.
pub(crate) fn run(
    listeners: Vec<UnixListener>,
    monitors: Vec<Monitor>,
    phases: &watch::Receiver<Phase>,
    registry: Arc<Registry>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        let mut serving = JoinSet::new();
        for listener in listeners {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::UnixListener::from_std(listener)?;
            let app = app(Arc::clone(&registry)).into_make_service_with_connect_info::<Peer>();
            serving.spawn(async move { axum::serve(listener, app).await });
        }
        for monitor in monitors {
            serving.spawn(monitor.serve(phases.clone(), Arc::clone(&registry)));
        }
        serving.spawn(crate::acme::start_when_asked(registry, phases.clone()));
        while let Some(served) = serving.join_next().await {
            served.map_err(io::Error::other)??;
        }
        Ok(())
    })
}

fn app(registry: Arc<Registry>) -> Router {
    Router::new()
        .route("/state", get(state::get))
        .route(
            "/config",
            get(config::get)
                .put(config::put)
                .patch(config::patch)
                .layer(DefaultBodyLimit::max(limits::CONFIG)),
        )
        .route("/front", get(front::get).put(front::put))
        .route("/door", put(door::put))
        .route("/tls", get(tls::get).put(tls::put).layer(DefaultBodyLimit::max(limits::PEM)))
        .route("/tickets", put(tls::put_tickets))
        .route(
            "/certificates/{name}",
            get(certificate::get).put(certificate::put).delete(certificate::delete),
        )
        .route("/acme", get(acme::get).put(acme::put).layer(DefaultBodyLimit::max(limits::CONFIG)))
        .route(
            "/acme/certificates/{name}",
            put(acme::put_certificate).delete(acme::delete_certificate),
        )
        .route("/acme/certificates/{name}/renew", put(acme::renew))
        .route("/acme/challenges", get(acme::get_challenges))
        .route("/acme/challenges/{record}", put(acme::put_challenge))
        .route("/routes/{*key}", get(route::get).put(route::put).delete(route::delete))
        .route("/services/{service}", get(service::get).put(service::put).delete(service::delete))
        .route("/services/{service}/pause", put(pause::put).delete(pause::delete))
        .route("/services/{service}/maintenance", put(maintenance::put).delete(maintenance::delete))
        .route(
            "/services/{service}/targets/{target}",
            get(target::get).put(target::put).delete(target::delete),
        )
        .merge(monitor::routes())
        .fallback(failure::unknown_path)
        .method_not_allowed_fallback(failure::wrong_method)
        .layer(DefaultBodyLimit::max(limits::CONTROL_BODY))
        .layer(middleware::from_fn(peer::check))
        .with_state(registry)
}
