//! What is answered from afar alone: the table, and whom of this machine each row is asked of.
//!
//! | method, path | does | answers |
//! |---|---|---|
//! | `GET /logs` | shows what apps have written, and with `?follow` what they write | 200, 404, 422 |
//! | `DELETE /logs` | empties the log of `?app=` | 200, 404, 422 |
//! | `GET /init/job/init` | shows what init is | 200 |
//! | `PUT /init/job/init/stop` | ends everything, and the machine as `?then=` says; only where init is a machine's first process | 204, 409, 422 |
//! | `PUT /init/job/init/restart` | has init become the one that is on the disk there, in place | 200, 409 |
//! | `GET /init/jobs` | lists init's jobs; with `?follow` every change, an object a line | 200, 400 |
//! | `GET /init/jobs/stats` | shows what jobs use | 200 |
//! | `GET /init/job/{id}` | shows a job | 200, 400, 404 |
//! | `GET /init/job/{id}/stats` | shows what a job uses | 200, 400, 404, 409 |
//! | `GET /init/job/{id}/stdout` | shows what is kept of what a job has written, and with `?follow` what it writes | 200, 400, 404, 409, 416 |
//! | `GET /init/job/{id}/stderr` | the same of its errors | the same |
//! | `PUT /init/job/{id}/stdin` | writes the body to a job | 204, 400, 404, 409 |
//! | `PUT /init/job/{id}/tty` | sets the size of a job's window | 204, 400, 404, 409 |
//! | `PUT /init/job/{id}/sig/{signal}` | sends a signal to a job | 204, 400, 404, 409 |
//! | `PUT /init/job/{id}/detach` | lets go of a job alive | 200, 400, 404, 409 |
//! | `PUT /init/job/{id}/adopt` | makes a running process a job | 200, 400, 403, 404, 409, 422 |
//! | `PUT /init/job/{id}/exec` | runs a command as an app runs, as a job of a name that begins with `exec-` | 200, 400, 404, 409, 422 |
//! | `DELETE /init/job/{id}` | clears such a command that has ended | 204, 400, 404, 409 |
//!
//! Those of `/init` are init's own, below that path: api.md says what they take and answer. A job's spec holds its
//! environment, and so secrets: to see jobs takes `control`, as every change does.

use http::Method;

use crate::access::Grant;
use crate::admin::route::{Gives, Key, Kind, Route, Takes};
use crate::errand::Errand;

/// Whom it is asked of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whom {
    Supervisor,
    /// The gate itself.
    Logs,
    /// init, as it is asked.
    Init,
    /// init, with a spec of the gate's making.
    Adopts,
    Runs,
    /// init, if it is a machine's first process.
    EndsMachine,
}

/// A row, and what it takes.
struct Row(Whom, Grant, Route);

use Gives::{Jobs, Nothing, OfInit, Stream};
use Grant::{Control, Read};
use Whom::{Adopts, EndsMachine, Init, Logs, Runs};

const ROWS: &[Row] = &[
    Row(
        Logs,
        Read,
        Route::look(
            "GET /logs",
            "shows what apps have written, and with `?follow` what they write",
            Stream,
        )
        .asking(&[APP, LINES, FOLLOW, SINCE, GREP, INSTANCE, STREAM, VIEW])
        .refusing(&[404, 422]),
    ),
    Row(
        Logs,
        Control,
        Route::look("DELETE /logs", "empties the log of `?app=`", Stream)
            .asking(&[APP])
            .refusing(&[404, 422]),
    ),
    Row(Init, Read, Route::look("GET /init/job/init", "shows what init is", OfInit)),
    Row(
        EndsMachine,
        Control,
        Route::look(
            "PUT /init/job/init/stop",
            "ends everything, and the machine as `?then=` says; only where init is a machine's first process",
            Nothing,
        )
        .asking(&[THEN])
        .refusing(&[409, 422]),
    ),
    Row(
        Init,
        Control,
        Route::look(
            "PUT /init/job/init/restart",
            "has init become the one that is on the disk there, in place",
            OfInit,
        )
        .refusing(&[409]),
    ),
    Row(
        Init,
        Control,
        Route::look(
            "GET /init/jobs",
            "lists init's jobs; with `?follow` every change, an object a line",
            Jobs,
        )
        .asking(&[FOLLOW])
        .refusing(&[400]),
    ),
    Row(Init, Read, Route::look("GET /init/jobs/stats", "shows what jobs use", OfInit)),
    Row(
        Init,
        Control,
        Route::look("GET /init/job/{id}", "shows a job", OfInit).refusing(&[400, 404]),
    ),
    Row(
        Init,
        Read,
        Route::look("GET /init/job/{id}/stats", "shows what a job uses", OfInit)
            .asking(&[PSS])
            .refusing(&[400, 404, 409]),
    ),
    Row(
        Init,
        Control,
        Route::look(
            "GET /init/job/{id}/stdout",
            "shows what is kept of what a job has written, and with `?follow` what it writes",
            Stream,
        )
        .asking(&[FOLLOW, TAIL, FROM])
        .refusing(&[400, 404, 409, 416]),
    ),
    Row(
        Init,
        Control,
        Route::look("GET /init/job/{id}/stderr", "the same of its errors", Stream)
            .asking(&[FOLLOW, TAIL, FROM])
            .refusing(&[400, 404, 409, 416]),
    ),
    Row(
        Init,
        Control,
        Route::look("PUT /init/job/{id}/stdin", "writes the body to a job", Nothing)
            .asking(&[CLOSE])
            .taking(Takes::Bytes)
            .refusing(&[400, 404, 409]),
    ),
    Row(
        Init,
        Control,
        Route::look("PUT /init/job/{id}/tty", "sets the size of a job's window", Nothing)
            .asking(&[ROWS_OF_TTY, COLUMNS])
            .refusing(&[400, 404, 409]),
    ),
    Row(
        Init,
        Control,
        Route::look("PUT /init/job/{id}/sig/{signal}", "sends a signal to a job", Nothing)
            .refusing(&[400, 404, 409]),
    ),
    Row(
        Init,
        Control,
        Route::look("PUT /init/job/{id}/detach", "lets go of a job alive", OfInit)
            .refusing(&[400, 404, 409]),
    ),
    Row(
        Adopts,
        Control,
        Route::look("PUT /init/job/{id}/adopt", "makes a running process a job", OfInit)
            .taking(Takes::Adoption)
            .refusing(&[400, 403, 404, 409, 422]),
    ),
    Row(
        Runs,
        Control,
        Route::look(
            "PUT /init/job/{id}/exec",
            "runs a command as an app runs, as a job of a name that begins with `exec-`",
            OfInit,
        )
        .taking(Takes::Errand)
        .refusing(&[400, 404, 409, 422]),
    ),
    Row(
        Init,
        Control,
        Route::look("DELETE /init/job/{id}", "clears such a command that has ended", Nothing)
            .refusing(&[400, 404, 409]),
    ),
];

const APP: Key = Key { name: "app", means: "an app, or proxyd", kind: Kind::Text };
const LINES: Key =
    Key { name: "lines", means: "the last N lines", kind: Kind::Number(0, 1_000_000) };
const FOLLOW: Key = Key { name: "follow", means: "and whatever comes", kind: Kind::Flag };
const SINCE: Key = Key { name: "since", means: "a span such as 10m, or a time", kind: Kind::Text };
const GREP: Key = Key { name: "grep", means: "a regular expression", kind: Kind::Text };
const INSTANCE: Key = Key { name: "instance", means: "the number of one", kind: Kind::Text };
const STREAM: Key =
    Key { name: "stream", means: "only this one", kind: Kind::Word(&["out", "err"]) };
const VIEW: Key = Key {
    name: "view",
    means: "for whom",
    kind: Kind::Word(&["plain", "screen", "colour", "json"]),
};
const THEN: Key = Key {
    name: "then",
    means: "what becomes of the machine",
    kind: Kind::Word(&["poweroff", "reboot", "halt"]),
};
const PSS: Key = Key { name: "pss", means: "with its share of shared pages", kind: Kind::Flag };
const TAIL: Key = Key { name: "tail", means: "the last N lines", kind: Kind::Number(0, 1_000_000) };
const FROM: Key = Key { name: "from", means: "an offset", kind: Kind::Number(0, u64::MAX >> 1) };
const CLOSE: Key = Key { name: "close", means: "and ends its input", kind: Kind::Flag };
const ROWS_OF_TTY: Key = Key { name: "rows", means: "its height", kind: Kind::Number(1, 65_535) };
const COLUMNS: Key = Key { name: "cols", means: "its width", kind: Kind::Number(1, 65_535) };

/// The table alone.
#[cfg(test)]
pub(crate) fn routes() -> Vec<Route> {
    ROWS.iter().map(|Row(_, _, route)| *route).collect()
}

/// Whom a request is for, and what it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    To(Whom, Grant),
    /// There is no such path here.
    Nowhere,
    /// There is, with these methods.
    With(Vec<&'static str>),
}

/// The way of a request. Whatever is not in this table is the supervisor's.
pub(super) fn way(method: &Method, path: &str) -> Way {
    let is_look = matches!(*method, Method::GET | Method::HEAD);
    if !(path == "/logs" || path == "/init" || path.starts_with("/init/")) {
        let is_secret = path == "/config";
        return Way::To(Whom::Supervisor, if is_look && !is_secret { Read } else { Control });
    }
    let mut others = Vec::new();
    for Row(whom, grant, route) in ROWS {
        let Some((asks, pattern)) = route.call.split_once(' ') else { continue };
        if !matches(pattern, path) {
            continue;
        }
        if asks == method.as_str() || (is_look && asks == "GET") {
            let clears_other = asks == "DELETE" && path != "/logs" && !clears_command(path);
            return if clears_other { Way::Nowhere } else { Way::To(*whom, *grant) };
        }
        others.push(asks);
    }
    if others.is_empty() { Way::Nowhere } else { Way::With(others) }
}

fn clears_command(path: &str) -> bool {
    path.rsplit('/').next().is_some_and(Errand::is_one)
}

/// Whether a path is of a pattern. A name in it is a job's: init itself is none, but where the pattern says so.
fn matches(pattern: &str, path: &str) -> bool {
    let (mut wanted, mut said) = (pattern.split('/'), path.split('/'));
    loop {
        match (wanted.next(), said.next()) {
            (None, None) => return true,
            (Some(one), Some(other)) if one.starts_with('{') => {
                let is_id = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
                if other.is_empty() || other == "init" || !other.bytes().all(is_id) {
                    return false;
                }
            }
            (Some(one), Some(other)) if one == other => {}
            (_, _) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn z09_init_is_asked_nothing_but_what_verbs_take() {
        let to = |whom, grant| Way::To(whom, grant);
        let other = |method: &'static str| Way::With(vec![method]);
        for (method, path, asked) in [
            (Method::GET, "/status", to(Whom::Supervisor, Read)),
            (Method::GET, "/config", to(Whom::Supervisor, Control)),
            (Method::PUT, "/apps/a/stop", to(Whom::Supervisor, Control)),
            (Method::PUT, "/initialise", to(Whom::Supervisor, Control)),
            (Method::GET, "/logs", to(Logs, Read)),
            (Method::HEAD, "/logs", to(Logs, Read)),
            (Method::DELETE, "/logs", to(Logs, Control)),
            (Method::PUT, "/logs", Way::With(vec!["GET", "DELETE"])),
            (Method::GET, "/init/jobs", to(Init, Control)),
            (Method::POST, "/init/jobs", other("GET")),
            (Method::GET, "/init/jobs/stats", to(Init, Read)),
            (Method::GET, "/init/jobs/output", Way::Nowhere),
            (Method::GET, "/init/job/a.1", to(Init, Control)),
            (Method::GET, "/init/job/a.1/stdout", to(Init, Control)),
            (Method::PUT, "/init/job/a.1/stdin", to(Init, Control)),
            (Method::PUT, "/init/job/a.1/tty", to(Init, Control)),
            (Method::PUT, "/init/job/a.1/sig/HUP", to(Init, Control)),
            (Method::PUT, "/init/job/a.1/detach", to(Init, Control)),
            (Method::PUT, "/init/job/a.1/adopt", to(Adopts, Control)),
            (Method::PUT, "/init/job/exec-1.a/exec", to(Runs, Control)),
            (Method::DELETE, "/init/job/exec-1.a", to(Init, Control)),
            (Method::DELETE, "/init/job/a.1", Way::Nowhere),
            (Method::PUT, "/init/job/a.1", Way::With(vec!["GET", "DELETE"])),
            (Method::GET, "/init/job/init", to(Init, Read)),
            (Method::PUT, "/init/job/init/stop", to(EndsMachine, Control)),
            (Method::PUT, "/init/job/init/restart", to(Init, Control)),
            (Method::PUT, "/init/job/init/sig/KILL", Way::Nowhere),
            (Method::PUT, "/init/job/init/detach", Way::Nowhere),
            (Method::PUT, "/init/job/a.1/stop", Way::Nowhere),
            (Method::GET, "/init", Way::Nowhere),
            (Method::GET, "/init/job/", Way::Nowhere),
            (Method::PUT, "/init/job/%69nit/stop", Way::Nowhere),
            (Method::PUT, "/init/job/../job/init/stdin", Way::Nowhere),
            (Method::PUT, "/init/job/a.1/sig/../stop", Way::Nowhere),
        ] {
            assert_eq!(way(&method, path), asked, "{method} {path}");
        }
    }
}
