//! What those who only watch may see: metrics, and whether to send clients here.
//!
//! | method, path | answers |
//! |---|---|
//! | `GET /metrics` | 200, the Prometheus text format |
//! | `GET /status` | 200 `Status` |
//! | `GET /ready` | 200; 503 while no client is let in, or it drains |
//! | `GET /ready/:service` | 200; 503 also while the service is paused, under maintenance or has no target; 404 |
//!
//! It is served on the control socket, and to anybody on the listeners of `--monitor`: nothing can be
//! changed here, and it tells no address of a client.
//!
//! A listener that was passed to this process may have been passed to its predecessor and its successor, too. Only
//! the one that serves answers there.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use proxyd_wire as wire;
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio::{select, spawn};

use crate::control::failure::{self, Failure};
use crate::control::metrics;
use crate::control::path::Path;
use crate::limits;
use crate::name::Name;
use crate::registry::Registry;
use crate::worker::Phase;

pub(crate) fn routes() -> Router<Arc<Registry>> {
    Router::new()
        .route("/metrics", get(show_metrics))
        .route("/status", get(show_status))
        .route("/ready", get(ready))
        .route("/ready/{service}", get(service_ready))
}

/// A listener for those who watch.
#[derive(Debug)]
pub(crate) struct Monitor {
    listener: TcpListener,
    /// Others may have it as well.
    is_shared: bool,
}

impl Monitor {
    /// One that nobody else has.
    pub(crate) fn own(listener: TcpListener) -> Monitor {
        Monitor { listener, is_shared: false }
    }

    /// One that was passed.
    pub(crate) fn passed(listener: TcpListener) -> Monitor {
        Monitor { listener, is_shared: true }
    }

    pub(crate) fn listener(&self) -> &TcpListener {
        &self.listener
    }

    /// Answers there: to the end, or where others listen as well, while clients are let in.
    pub(crate) async fn serve(
        self,
        mut phases: watch::Receiver<Phase>,
        registry: Arc<Registry>,
    ) -> std::io::Result<()> {
        let Monitor { listener, is_shared } = self;
        if !is_shared {
            return serve(listener, registry).await;
        }
        let stopped = phases.wait_for(|phase| *phase != Phase::Serving);
        let serving = async {
            registry.door.opened().await;
            serve(listener, Arc::clone(&registry)).await
        };
        select! {
            // Without a sender the process ends.
            _ = stopped => Ok(()),
            served = serving => served,
        }
    }
}

/// Serves them, and nothing else. Anybody may ask, so nobody gets more than one answer a connection and
/// a time to take it in: the descriptors are for clients.
async fn serve(listener: TcpListener, registry: Arc<Registry>) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let app = routes()
        .fallback(failure::unknown_path)
        .method_not_allowed_fallback(failure::wrong_method)
        .with_state(registry);
    let seats = Arc::new(Semaphore::new(limits::WATCHERS));
    loop {
        // The semaphore is never closed.
        let seat = Arc::clone(&seats).acquire_owned().await.map_err(std::io::Error::other)?;
        let Ok((stream, _)) = listener.accept().await else {
            sleep(limits::ACCEPT_PAUSE).await;
            continue;
        };
        let service = TowerToHyperService::new(app.clone());
        spawn(async move {
            let mut http = hyper::server::conn::http1::Builder::new();
            let answer = http.keep_alive(false).serve_connection(TokioIo::new(stream), service);
            // Whoever is gone, or too slow, has no other way to learn of it.
            let _ = timeout(limits::WATCHER_TIME, answer).await;
            drop(seat);
        });
    }
}

async fn show_metrics(State(registry): State<Arc<Registry>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics::text(&registry))
}

async fn show_status(State(registry): State<Arc<Registry>>) -> Json<wire::Status> {
    let state = registry.look(crate::state::State::view);
    let mut requests = registry.unrouted.counts().classes;
    registry.look(|state| {
        for (_, meter) in state.meters() {
            for (sum, more) in requests.iter_mut().zip(meter.counts().classes) {
                *sum += more;
            }
        }
    });
    Json(wire::Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        uptime_ms: u64::try_from(registry.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        serving: registry.door.is_open(),
        draining: registry.gauges.draining.load(Ordering::Relaxed),
        snapshot_failing: registry.gauges.snapshot_failing.load(Ordering::Relaxed),
        generation: state.generation,
        routes: state.routes.len(),
        services: state.services.len(),
        connections: registry.gauges.clients(),
        requests: requests.iter().sum(),
        server_errors: requests.last().copied().unwrap_or(0),
    })
}

async fn ready(State(registry): State<Arc<Registry>>) -> Result<&'static str, NotReady> {
    check(&registry)?;
    Ok("ready\n")
}

async fn service_ready(
    State(registry): State<Arc<Registry>>,
    Path(service): Path<String>,
) -> Result<Result<&'static str, NotReady>, Failure> {
    let name = Name::parse(&service)?;
    let view = registry.look(|state| state.view().services.remove(name.as_str()));
    let view = view.ok_or(Failure::NoService(service))?;
    let alive =
        |target: &wire::TargetView| !target.retired && target.state != wire::Health::Ejected;
    Ok(check(&registry).and_then(|()| {
        if view.maintenance.is_some() {
            Err(NotReady("the service is under maintenance\n"))
        } else if view.pause.is_some() {
            Err(NotReady("the service is paused\n"))
        } else if !view.targets.values().any(alive) {
            Err(NotReady("the service has no target that answers\n"))
        } else {
            Ok("ready\n")
        }
    }))
}

fn check(registry: &Registry) -> Result<(), NotReady> {
    if registry.gauges.draining.load(Ordering::Relaxed) {
        Err(NotReady("the proxy drains\n"))
    } else if registry.door.is_open() {
        Ok(())
    } else {
        Err(NotReady("the proxy lets no client in yet\n"))
    }
}

/// Why clients are to be sent elsewhere.
#[derive(Debug)]
struct NotReady(&'static str);

impl IntoResponse for NotReady {
    fn into_response(self) -> axum::response::Response {
        (StatusCode::SERVICE_UNAVAILABLE, self.0).into_response()
    }
}
