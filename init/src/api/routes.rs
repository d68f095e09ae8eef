//! The table of routes. `api.md` documents each, and a test compares the two.

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::str::FromStr;
use std::sync::Arc;

use futures_util::FutureExt;
use http::{Method, Request, StatusCode, Uri, header};
use hyper::body::Incoming;
use init_wire::Channel;
use percent_encoding::percent_decode_str;

use super::answer::{Answer, Refused, json, list};
use super::handover::{Handover, Pending, Talk};
use super::output::Wanted;
use super::{body, collect, follow, input, output, stats};
use crate::account::Accounts;
use crate::chronicle::{Life, Place};
use crate::defect;
use crate::door::{Closed, Door};
use crate::event::{Command, Ending, Refusal, Until};
use crate::id::JobId;
use crate::input::Inputs;
use crate::output::Outputs;
use crate::signal::Signal;
use crate::spec::{Spec, SpecError};

/// A way to ask init for something.
#[derive(Debug)]
pub struct Route {
    /// The method.
    pub method: &'static str,
    /// The path, with parameters as `{id}`.
    pub path: &'static str,
    /// One line on what it does.
    pub does: &'static str,
    what: What,
    /// The length of the path's part before its first parameter.
    fixed: usize,
}

/// What a route leads to.
#[derive(Clone, Copy, Debug)]
enum What {
    List,
    StartUnnamed,
    About,
    End,
    StartNamed,
    Show,
    Stats,
    AllStats,
    Remove,
    Signal,
    Stop,
    StartAgain,
    Restart,
    Output(Channel),
    AllOutput,
    Input,
    Resize,
    Detach,
    Renew,
}

/// All routes; where two fit a path, the first one is meant.
#[rustfmt::skip]
pub static ROUTES: &[Route] = &[
    route("GET", "/jobs", "lists all jobs, or follows them", What::List),
    route("GET", "/jobs/stats", "shows what all jobs use", What::AllStats),
    route("GET", "/jobs/output", "shows or follows what all jobs write", What::AllOutput),
    route("POST", "/job", "starts a job that init names", What::StartUnnamed),
    route("GET", "/job/init", "shows init itself", What::About),
    route("PUT", "/job/init/stop", "ends init, or the machine", What::End),
    route("PUT", "/job/init/restart", "replaces init by the one on disk", What::Renew),
    route("PUT", "/job/{id}", "starts a job with that name", What::StartNamed),
    route("GET", "/job/{id}", "shows a job, or waits for its end", What::Show),
    route("GET", "/job/{id}/stats", "shows what a job uses", What::Stats),
    route("DELETE", "/job/{id}", "clears a job that does not run", What::Remove),
    route("PUT", "/job/{id}/sig/{sig}", "signals a job's process", What::Signal),
    route("PUT", "/job/{id}/stop", "stops a job's processes", What::Stop),
    route("PUT", "/job/{id}/start", "starts a job again", What::StartAgain),
    route("PUT", "/job/{id}/restart", "stops a job and starts it again", What::Restart),
    route("GET", "/job/{id}/stdout", "shows or follows what a job writes", What::Output(Channel::Stdout)),
    route("GET", "/job/{id}/stderr", "shows or follows its errors", What::Output(Channel::Stderr)),
    route("PUT", "/job/{id}/stdin", "writes to a job", What::Input),
    route("PUT", "/job/{id}/tty", "sets the size of a job's window", What::Resize),
    route("PUT", "/job/{id}/detach", "lets go of a job's processes alive", What::Detach),
];

const fn route(method: &'static str, path: &'static str, does: &'static str, what: What) -> Route {
    let mut rest = path.as_bytes();
    while let [first, others @ ..] = rest
        && *first != b'{'
    {
        rest = others;
    }
    Route { method, path, does, what, fixed: path.len() - rest.len() }
}

/// What requests are answered with.
#[derive(Clone, Debug)]
pub struct Api {
    /// The way to the reactor.
    pub door: Door,
    /// init's own user and group id.
    pub own: (u32, u32),
    /// What jobs write.
    pub outputs: Outputs,
    /// What is written to jobs.
    pub inputs: Inputs,
    /// The way into another process.
    pub handover: Handover,
    /// Which life of init's it is.
    pub life: Life,
}

impl Api {
    /// Answers a request, whatever happens.
    pub(super) async fn answer(&self, request: Request<Incoming>, talk: &Talk) -> Answer {
        let answer = AssertUnwindSafe(self.try_to_answer(request, talk)).catch_unwind().await;
        answer.unwrap_or_else(|_| Refused::from(Closed::Defect).into_answer())
    }

    async fn try_to_answer(&self, request: Request<Incoming>, talk: &Talk) -> Answer {
        match find(request.method(), request.uri().path()) {
            Ok((what, values)) => {
                let values = values.map(Cow::into_owned);
                self.call(what, values, request, talk).await.unwrap_or_else(Refused::into_answer)
            }
            Err(refused) => refused.into_answer(),
        }
    }

    /// Answers a request that an earlier process has read.
    pub(super) async fn answer_pending(&self, pending: Pending, talk: &Talk) -> Answer {
        let Some(ticket) = pending.ticket else {
            // It was for that process to become this one.
            return match self.door.renewed().await {
                Ok(Ok(about)) => json(StatusCode::OK, &about),
                Ok(Err(why)) => cannot_restart(why).into_answer(),
                Err(closed) => Refused::from(closed).into_answer(),
            };
        };
        talk.waits_for(Some(ticket));
        let reply = self.door.wait(ticket, || talk.is_handed()).await;
        talk.answers();
        reply.map_or_else(|closed| Refused::from(closed).into_answer(), Answer::from)
    }

    /// Asks for what a client wants.
    async fn ask(&self, command: Command, talk: &Talk) -> Result<Answer, Refused> {
        let ticket = self.door.ticket();
        talk.waits_for(Some(ticket));
        let reply = self.door.ask(ticket, command, || talk.is_handed()).await;
        talk.answers();
        Ok(reply?.into())
    }

    async fn call(
        &self,
        what: What,
        [id, sig]: [String; 2],
        request: Request<Incoming>,
        talk: &Talk,
    ) -> Result<Answer, Refused> {
        let uri = request.uri();
        let command = match what {
            What::List => return self.list(uri).await,
            What::StartUnnamed => return self.launch(None, request, talk).await,
            What::StartNamed => {
                defect::here(defect::Place::Handler, &id);
                return self.launch(Some(JobId::parse(&id)?), request, talk).await;
            }
            What::Show => return self.show(JobId::parse(&id)?, uri, talk).await,
            What::Stats => {
                return stats::of_one(&self.door, JobId::parse(&id)?, with_pss(uri)?).await;
            }
            What::AllStats => return stats::of_all(&self.door, with_pss(uri)?).await,
            What::About => {
                let [] = query(uri, [])?;
                return Ok(json(StatusCode::OK, &self.door.about().await?));
            }
            What::Renew => {
                let [] = query(uri, [])?;
                if talk.is_open() {
                    let message = "this takes no body";
                    return Err(Refused::new(StatusCode::BAD_REQUEST, "bad_body", message));
                }
                talk.waits_for(None);
                // If all goes well, the answer is the next process's.
                let refused = self.door.renew().await?;
                return Err(cannot_restart(refused));
            }
            What::End => {
                let [then] = query(uri, ["then"])?;
                Command::End(ending(then.as_deref())?)
            }
            What::Remove => Command::Remove(only_id(&id, uri)?),
            What::Signal => Command::Signal(only_id(&id, uri)?, parse_signal(&sig)?),
            What::Stop => Command::Stop(only_id(&id, uri)?),
            What::StartAgain => Command::StartAgain(only_id(&id, uri)?),
            What::Restart => Command::Restart(only_id(&id, uri)?),
            What::Output(channel) => {
                let id = JobId::parse(&id)?;
                let wanted = wanted(uri)?;
                if self.outputs.find(&id, channel).is_none() && self.is_unknown(&id).await? {
                    return Err(Refusal::UnknownJob(id).into());
                }
                let ends = self.handover.clone().begins();
                let stream = (&id, channel);
                let (outputs, headers) = (&self.outputs, request.headers());
                return output::answer(outputs, stream, &wanted, headers, (talk, ends));
            }
            What::AllOutput => {
                let [from, follow] = query(uri, ["from", "follow"])?;
                let from = from.as_deref().map(place).transpose()?;
                let follow = flag("follow", follow.as_deref())?;
                let ends = self.handover.clone().begins();
                return Ok(collect::answer(&self.outputs, self.life, from, follow, (talk, ends)));
            }
            What::Input => {
                let id = JobId::parse(&id)?;
                let [close] = query(uri, ["close"])?;
                let close = flag("close", close.as_deref())?;
                if self.is_unknown(&id).await? {
                    return Err(Refusal::UnknownJob(id).into());
                }
                let ends = self.handover.clone().begins();
                return input::write(&self.inputs, &id, close, request, (talk, ends)).await;
            }
            What::Resize => {
                let id = JobId::parse(&id)?;
                let [rows, columns] = query(uri, ["rows", "cols"])?;
                let (Some(rows), Some(columns)) = (rows, columns) else {
                    return Err(bad_query("say both: ?rows=24&cols=80"));
                };
                let size = (number("rows", &rows)?, number("cols", &columns)?);
                if self.is_unknown(&id).await? {
                    return Err(Refusal::UnknownJob(id).into());
                }
                return input::resize(&self.inputs, &id, size);
            }
            What::Detach => Command::Detach(only_id(&id, uri)?),
        };
        self.ask(command, talk).await
    }

    async fn is_unknown(&self, id: &JobId) -> Result<bool, Refused> {
        Ok(self.door.info(id.clone()).await?.is_none())
    }

    async fn list(&self, uri: &Uri) -> Result<Answer, Refused> {
        let [follow, from] = query(uri, ["follow", "from"])?;
        let from = from.as_deref().map(place).transpose()?;
        if flag("follow", follow.as_deref())? {
            let ends = self.handover.clone().begins();
            return Ok(follow::answer(self.door.follow(from).await?, ends));
        }
        if from.is_some() {
            return Err(bad_query("`from` goes with `follow`"));
        }
        Ok(list(self.door.list().await?))
    }

    async fn launch(
        &self,
        id: Option<JobId>,
        request: Request<Incoming>,
        talk: &Talk,
    ) -> Result<Answer, Refused> {
        let until = until(request.uri())?.unwrap_or(Until::Up);
        let wire = body::spec(request).await?;
        talk.has_read_all();
        let names_account = wire.user.is_some()
            || wire.group.is_some()
            || wire.groups.is_some()
            || wire.fds.iter().any(|fd| fd.user.is_some() || fd.group.is_some());
        let accounts = if names_account { Accounts::read() } else { Ok(Accounts::default()) };
        let accounts = accounts.map_err(SpecError::account)?;
        let spec = Arc::new(Spec::check(&wire, &accounts, self.own)?.with(wire));
        self.ask(Command::Start { id, spec, until }, talk).await
    }

    async fn show(&self, id: JobId, uri: &Uri, talk: &Talk) -> Result<Answer, Refused> {
        if let Some(until) = until(uri)? {
            return self.ask(Command::Await(id, until), talk).await;
        }
        match self.door.info(id.clone()).await? {
            Some(job) => Ok(json(StatusCode::OK, &job)),
            None => Err(Refusal::UnknownJob(id).into()),
        }
    }
}

/// What `method` on `path` leads to, and the values of the path's parameters.
fn find<'a>(method: &Method, path: &'a str) -> Result<(What, [Cow<'a, str>; 2]), Refused> {
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    // A path of its own is no other one's parameter.
    let found = ROUTES.iter().find_map(|route| Some((route, route.values(path)?)));
    let Some((first, values)) = found else { return Err(no_route(path)) };
    let fits = |route: &&Route| route.path == first.path;
    let Some(route) = ROUTES.iter().filter(fits).find(|route| route.method == method) else {
        let methods: Vec<_> = ROUTES.iter().filter(fits).map(|route| route.method).collect();
        return Err(wrong_method(method, path, &methods.join(" or ")));
    };
    let decoded = values.map(|value| percent_decode_str(value).decode_utf8_lossy());
    Ok((route.what, decoded))
}

impl Route {
    /// The values of the parameters, if `path` fits.
    fn values<'a>(&self, path: &'a str) -> Option<[&'a str; 2]> {
        // Most routes are told from most paths by their beginning.
        let (fixed, pattern) = self.path.split_at_checked(self.fixed)?;
        let (mut pattern, mut path) = (pattern, path.strip_prefix(fixed)?);
        let mut values = [""; 2];
        for value in &mut values {
            let Some((_, rest)) = pattern.split_once('}') else { break };
            let end = path.find('/').unwrap_or(path.len());
            (*value, path) = path.split_at_checked(end)?;
            let (fixed, parameter) = rest.split_at(rest.find('{').unwrap_or(rest.len()));
            (pattern, path) = (parameter, path.strip_prefix(fixed)?);
        }
        (pattern.is_empty() && path.is_empty()).then_some(values)
    }
}

fn no_route(path: &str) -> Refused {
    let routes: Vec<_> = ROUTES.iter().map(|r| format!("{} {}", r.method, r.path)).collect();
    let message = format!("there is no {path}; there are: {}", routes.join(", "));
    Refused::new(StatusCode::NOT_FOUND, "no_route", message)
}

fn wrong_method(method: &str, path: &str, methods: &str) -> Refused {
    let message = format!("{path} takes {methods}, not {method}; try curl -X {methods}");
    Refused::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", message)
        .with(header::ALLOW, &methods.replace(" or ", ", "))
}

fn place(from: &str) -> Result<Place, Refused> {
    let bad = "`from` is LIFE:SEQ, the `life` of the `ready` event and the `seq` of the last event";
    Place::parse(from).ok_or_else(|| bad_query(bad))
}

fn with_pss(uri: &Uri) -> Result<bool, Refused> {
    let [pss] = query(uri, ["pss"])?;
    match pss.as_deref() {
        None => Ok(false),
        Some("" | "1" | "true") => Ok(true),
        Some(_) => Err(bad_query("`pss` takes no value")),
    }
}

fn until(uri: &Uri) -> Result<Option<Until>, Refused> {
    let [wait] = query(uri, ["wait"])?;
    match wait.as_deref() {
        None => Ok(None),
        Some("exit") => Ok(Some(Until::Ended)),
        Some("ready") => Ok(Some(Until::Ready)),
        Some(_) => Err(bad_query("`wait` is one of exit, ready")),
    }
}

fn ending(then: Option<&str>) -> Result<Ending, Refused> {
    match then {
        None | Some("exit") => Ok(Ending::Exit),
        Some("poweroff") => Ok(Ending::Poweroff),
        Some("reboot") => Ok(Ending::Reboot),
        Some("halt") => Ok(Ending::Halt),
        Some(_) => Err(bad_query("`then` is one of exit, poweroff, reboot, halt")),
    }
}

/// What of a stream is asked for.
fn wanted(uri: &Uri) -> Result<Wanted, Refused> {
    let [from, tail, follow, format] = query(uri, ["from", "tail", "follow", "format"])?;
    if from.is_some() && tail.is_some() {
        return Err(bad_query("`from` and `tail` both say where to begin; leave out one"));
    }
    let json = match format.as_deref() {
        None | Some("text") => false,
        Some("json") => true,
        Some(_) => return Err(bad_query("`format` is one of text, json")),
    };
    Ok(Wanted {
        from: from.map(|from| number("from", &from)).transpose()?,
        tail: tail.map(|lines| number("tail", &lines)).transpose()?,
        follow: flag("follow", follow.as_deref())?,
        json,
    })
}

fn flag(name: &str, value: Option<&str>) -> Result<bool, Refused> {
    match value {
        None | Some("0" | "false") => Ok(false),
        Some("" | "1" | "true") => Ok(true),
        Some(_) => Err(bad_query(&format!("`{name}` takes no value"))),
    }
}

fn number<T: FromStr>(name: &str, value: &str) -> Result<T, Refused> {
    value.parse().map_err(|_| bad_query(&format!("`{name}={value}` is not a number, or too large")))
}

fn cannot_restart(why: String) -> Refused {
    Refused::new(StatusCode::CONFLICT, "cannot_restart", why)
}

/// The id of a path that takes no query.
fn only_id(id: &str, uri: &Uri) -> Result<JobId, Refused> {
    let [] = query(uri, [])?;
    Ok(JobId::parse(id)?)
}

fn parse_signal(text: &str) -> Result<Signal, Refused> {
    Signal::parse(text).ok_or_else(|| {
        let message = format!(
            "there is no signal `{text}`; use a name such as TERM, or a number from 1 to 64"
        );
        Refused::new(StatusCode::BAD_REQUEST, "bad_signal", message)
    })
}

/// The values of the parameters of these names; there may be no others, and none twice.
fn query<const N: usize>(uri: &Uri, names: [&str; N]) -> Result<[Option<String>; N], Refused> {
    let mut values = [const { None }; N];
    let text = uri.query().unwrap_or_default();
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        let known = names.iter().zip(&mut values).find(|(known, _)| **known == name);
        match known {
            Some((_, free @ None)) => *free = Some(value.into_owned()),
            Some(_) => return Err(bad_query(&format!("`{name}` is there twice"))),
            None if names.is_empty() => {
                return Err(bad_query(&format!("`?{text}`: this takes no query")));
            }
            None => {
                let names = names.join("`, `");
                return Err(bad_query(&format!("there is no `{name}` here, but `{names}`")));
            }
        }
    }
    Ok(values)
}

fn bad_query(message: &str) -> Refused {
    Refused::new(StatusCode::BAD_REQUEST, "bad_query", message)
}
