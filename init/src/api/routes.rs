//! The table of routes. `api.md` documents each, and a test compares the two.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, Query, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post, put};
use serde::Deserialize;

use super::answer::{Json, Refused};
use super::{body, follow};
use crate::account::Accounts;
use crate::door::Door;
use crate::event::{Command, Ending, Until};
use crate::id::JobId;
use crate::signal::Signal;
use crate::spec::{Spec, SpecError};

/// A way to ask init for something.
pub struct Route {
    /// The method.
    pub method: &'static str,
    /// The path, with parameters as `{id}`.
    pub path: &'static str,
    /// One line on what it does.
    pub does: &'static str,
    handler: MethodRouter<Api>,
}

/// What handlers work with.
#[derive(Clone, Debug)]
pub struct Api {
    /// The way to the reactor.
    pub door: Door,
    /// init's own user and group id.
    pub own: (u32, u32),
}

/// All routes.
#[rustfmt::skip]
#[must_use]
pub fn table() -> Vec<Route> {
    let route = |method, path, does, handler| Route { method, path, does, handler };
    vec![
        route("GET", "/jobs", "lists all jobs, or follows them", get(list)),
        route("POST", "/job", "starts a job that init names", post(start_unnamed)),
        route("PUT", "/job/{id}", "starts a job with that name", put(start_named)),
        route("GET", "/job/{id}", "shows a job, or waits for its end", get(show)),
        route("DELETE", "/job/{id}", "clears a job that does not run", delete(remove)),
        route("PUT", "/job/{id}/sig/{sig}", "signals a job's process", put(signal)),
        route("PUT", "/job/{id}/stop", "stops a job's processes", put(stop)),
        route("PUT", "/job/{id}/start", "starts a job again", put(start)),
        route("PUT", "/job/{id}/restart", "stops a job and starts it again", put(restart)),
        route("GET", "/job/init", "shows init itself", get(about)),
        route("PUT", "/job/init/stop", "ends init, or the machine", put(end)),
    ]
}

/// The table as a service.
pub fn router(api: Api) -> Router {
    table()
        .into_iter()
        .fold(Router::new(), |router, route| router.route(route.path, route.handler))
        .method_not_allowed_fallback(wrong_method)
        .fallback(no_route)
        .with_state(api)
}

type Answer = Result<Response, Refused>;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wait {
    wait: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Follow {
    follow: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct AndThen {
    then: Option<String>,
}

async fn list(State(api): State<Api>, uri: Uri) -> Answer {
    let query: Follow = query(&uri)?;
    match query.follow.as_deref() {
        None => Ok(Json(&api.door.list().await?).into_response()),
        Some("" | "1" | "true") => Ok(follow::response(api.door.follow().await?)),
        Some(_) => Err(bad_query("`follow` takes no value")),
    }
}

async fn start_unnamed(State(api): State<Api>, request: Request) -> Answer {
    launch(api, None, request).await
}

async fn start_named(State(api): State<Api>, Id(id): Id, request: Request) -> Answer {
    launch(api, Some(id), request).await
}

async fn launch(api: Api, id: Option<JobId>, request: Request) -> Answer {
    let until = until(request.uri())?.unwrap_or(Until::Up);
    let wire = body::spec(request).await?;
    let names_account = wire.user.is_some() || wire.group.is_some() || wire.groups.is_some();
    let accounts = if names_account { Accounts::read() } else { Ok(Accounts::default()) };
    let accounts = accounts.map_err(SpecError::account)?;
    let spec = Arc::new(Spec::check(&wire, &accounts, api.own)?.with(wire));
    Ok(api.door.ask(Command::Start { id, spec, until }).await?.into_response())
}

async fn show(State(api): State<Api>, Id(id): Id, uri: Uri) -> Answer {
    if let Some(until) = until(&uri)? {
        return Ok(api.door.ask(Command::Await(id, until)).await?.into_response());
    }
    match api.door.info(id.clone()).await? {
        Some(job) => Ok(Json(&job).into_response()),
        None => Err(crate::event::Refusal::UnknownJob(id).into()),
    }
}

async fn remove(_: NoQuery, State(api): State<Api>, Id(id): Id) -> Answer {
    Ok(api.door.ask(Command::Remove(id)).await?.into_response())
}

async fn signal(_: NoQuery, State(api): State<Api>, Id(id): Id, Sig(signal): Sig) -> Answer {
    Ok(api.door.ask(Command::Signal(id, signal)).await?.into_response())
}

async fn stop(_: NoQuery, State(api): State<Api>, Id(id): Id) -> Answer {
    Ok(api.door.ask(Command::Stop(id)).await?.into_response())
}

async fn start(_: NoQuery, State(api): State<Api>, Id(id): Id) -> Answer {
    Ok(api.door.ask(Command::StartAgain(id)).await?.into_response())
}

async fn restart(_: NoQuery, State(api): State<Api>, Id(id): Id) -> Answer {
    Ok(api.door.ask(Command::Restart(id)).await?.into_response())
}

async fn about(_: NoQuery, State(api): State<Api>) -> Answer {
    Ok(Json(&api.door.about().await?).into_response())
}

async fn end(State(api): State<Api>, uri: Uri) -> Answer {
    let query: AndThen = query(&uri)?;
    let ending = match query.then.as_deref() {
        None | Some("exit") => Ending::Exit,
        Some("poweroff") => Ending::Poweroff,
        Some("reboot") => Ending::Reboot,
        Some("halt") => Ending::Halt,
        Some(_) => return Err(bad_query("`then` is one of exit, poweroff, reboot, halt")),
    };
    Ok(api.door.ask(Command::End(ending)).await?.into_response())
}

async fn no_route(uri: Uri) -> Refused {
    let routes: Vec<_> = table().iter().map(|r| format!("{} {}", r.method, r.path)).collect();
    let message = format!("there is no {}; there are: {}", uri.path(), routes.join(", "));
    Refused::new(StatusCode::NOT_FOUND, "no_route", message)
}

async fn wrong_method(method: Method, uri: Uri) -> Refused {
    let asked: Vec<_> = uri.path().split('/').collect();
    let fits = |route: &Route| {
        let own: Vec<_> = route.path.split('/').collect();
        let mut both = own.iter().zip(&asked);
        own.len() == asked.len() && both.all(|(own, asked)| own == asked || own.starts_with('{'))
    };
    let mut routes: Vec<_> = table().into_iter().filter(fits).collect();
    // A path of its own is no other one's parameter.
    if routes.iter().any(|route| route.path == uri.path()) {
        routes.retain(|route| route.path == uri.path());
    }
    let methods: Vec<_> = routes.iter().map(|route| route.method).collect();
    let methods = methods.join(" or ");
    let message = format!("{} takes {methods}, not {method}; try curl -X {methods}", uri.path());
    Refused::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", message)
}

fn until(uri: &Uri) -> Result<Option<Until>, Refused> {
    let query: Wait = query(uri)?;
    match query.wait.as_deref() {
        None => Ok(None),
        Some("exit") => Ok(Some(Until::Ended)),
        Some("ready") => Ok(Some(Until::Ready)),
        Some(_) => Err(bad_query("`wait` is one of exit, ready")),
    }
}

fn query<T: for<'de> Deserialize<'de>>(uri: &Uri) -> Result<T, Refused> {
    Query::try_from_uri(uri).map(|Query(query)| query).map_err(|error| {
        let text = error.body_text();
        let text = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
        bad_query(&format!("the query cannot be read: {text}"))
    })
}

fn bad_query(message: &str) -> Refused {
    Refused::new(StatusCode::BAD_REQUEST, "bad_query", message)
}

/// A query would have no meaning.
struct NoQuery;

impl<S: Send + Sync> FromRequestParts<S> for NoQuery {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        match parts.uri.query() {
            None | Some("") => Ok(Self),
            Some(query) => Err(bad_query(&format!("`?{query}`: this takes no query"))),
        }
    }
}

/// The `{id}` of the path.
struct Id(JobId);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let text = path(parts, state).await?.remove("id").unwrap_or_default();
        Ok(Self(JobId::parse(&text)?))
    }
}

/// The `{sig}` of the path.
struct Sig(Signal);

impl<S: Send + Sync> FromRequestParts<S> for Sig {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let text = path(parts, state).await?.remove("sig").unwrap_or_default();
        let unknown = || {
            let message = format!(
                "there is no signal `{text}`; use a name such as TERM, or a number from 1 to 64"
            );
            Refused::new(StatusCode::BAD_REQUEST, "bad_signal", message)
        };
        Signal::parse(&text).map(Self).ok_or_else(unknown)
    }
}

async fn path<S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
) -> Result<BTreeMap<String, String>, Refused> {
    let params = RawPathParams::from_request_parts(parts, state)
        .await
        .map_err(|error| Refused::new(StatusCode::BAD_REQUEST, "bad_path", error.to_string()))?;
    Ok(params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}
