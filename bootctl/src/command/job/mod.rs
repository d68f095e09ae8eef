//! Verbs about init's jobs, whoever has started them. They ask init itself, so they work without a supervisor; that of
//! another machine is asked by way of its gate.

pub(super) mod adopt;
pub(super) mod detach;
pub(super) mod events;
pub(super) mod exec;
pub(super) mod kill;
pub(super) mod list;
pub(super) mod output;
pub(super) mod stats;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use init_wire::JobInfo;
use serde::Serialize;

use crate::admin::client::{self, ClientError};
use crate::app::identify;
use crate::boot::{BadAddress, init_address};
use crate::cli::{InitAt, InitOf};
use crate::client::{Init, InitError};
use crate::command::print;
use crate::http::{HttpError, Server};
use crate::name::{nearest, quoted};
use crate::remote::host::Host;
use crate::speech::{Unsaid, say};
use crate::table::columns;
use crate::token::{Token, TokenError};

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JobError {
    #[error(transparent)]
    Address(#[from] BadAddress),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Remote(#[from] Box<ClientError>),
    #[error(transparent)]
    Init(#[from] InitError),
    #[error("the output of {0} broke off: {1}")]
    Broken(String, HttpError),
    #[error("there is no job and no app with instances that is called {}{hint}", quoted(name))]
    Nobody { name: String, hint: String },
    #[error(
        "{job} is an instance of the app {app}, and another one would be started in its place; `bootctl \
         detach {app}` lets go of all of them"
    )]
    Instance { job: String, app: String },
    #[error("cannot begin: {0}")]
    Runtime(io::Error),
    #[error(transparent)]
    Unsaid(#[from] Unsaid),
    #[error("this terminal cannot be used: {0}")]
    Terminal(#[from] io::Error),
}

impl JobError {
    pub(crate) fn code(&self) -> ExitCode {
        match self {
            Self::Init(InitError::Unreachable(..)) => ExitCode::from(super::UNREACHABLE),
            _ => ExitCode::FAILURE,
        }
    }

    /// Tells it; how the command ends therefore.
    pub(super) fn tell(&self) -> ExitCode {
        let advice = match self {
            Self::Init(InitError::Unreachable(..)) => {
                "; start init, or say with --init where its API is"
            }
            _ => "",
        };
        say(format_args!("{self}{advice}"));
        self.code()
    }
}

/// Shows a list: all of it for programs, or a line each below the names of what is shown.
fn show<T: Serialize, const COLUMNS: usize>(
    all: &[T],
    json: bool,
    head: [&str; COLUMNS],
    row: impl Fn(&T) -> [String; COLUMNS],
) -> ExitCode {
    if json {
        print(&serde_json::to_string_pretty(all).unwrap_or_default())
    } else {
        let head = head.map(str::to_owned);
        let rows: Vec<_> = std::iter::once(head).chain(all.iter().map(row)).collect();
        print(&columns(&rows))
    }
}

/// Does something with init's help; how the command ends.
fn run(at: &InitOf, work: impl AsyncFnOnce(Init) -> Result<ExitCode, JobError>) -> ExitCode {
    run_on(&at.init, &at.host, work)
}

fn run_on(
    at: &InitAt,
    host: &Host,
    work: impl AsyncFnOnce(Init) -> Result<ExitCode, JobError>,
) -> ExitCode {
    match try_to(at, host, work) {
        Ok(code) => code,
        Err(error) => error.tell(),
    }
}

fn try_to(
    at: &InitAt,
    host: &Host,
    work: impl AsyncFnOnce(Init) -> Result<ExitCode, JobError>,
) -> Result<ExitCode, JobError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(JobError::Runtime)?;
    let code = runtime.block_on(async { work(reach(at, host).await?).await });
    // A thread that reads this terminal may wait for a key for ever.
    runtime.shutdown_background();
    code
}

/// init of this machine, or of the one that is meant.
pub(super) async fn reach(at: &InitAt, host: &Host) -> Result<Init, JobError> {
    // Whoever says where init is means this machine.
    let told = at.address.map(|_| PathBuf::new());
    let way = host.way(told, PathBuf::new());
    match client::server(&way, "/init").await.map_err(Box::new)? {
        server @ Server::Remote(..) => Ok(Init::through(server)),
        Server::Tcp(..) | Server::Unix(_) => {
            let address = init_address(at.address)?;
            Ok(Init::at(address, Token::of_init()?.as_ref()))
        }
    }
}

/// The app that it is an instance of, if it is one.
fn app_of(job: &JobInfo) -> Option<String> {
    identify(&job.id, &job.spec).map(|(id, _)| id.app.to_string())
}

/// The job of that name, or the instances of the app of that name.
async fn meant(init: &Init, name: &str) -> Result<Vec<JobInfo>, JobError> {
    let jobs = init.jobs().await?;
    if let Some(job) = jobs.iter().find(|job| job.id == name) {
        return Ok(vec![job.clone()]);
    }
    let app = app_of;
    let mine: Vec<_> =
        jobs.iter().filter(|job| app(job).as_deref() == Some(name)).cloned().collect();
    if !mine.is_empty() {
        return Ok(mine);
    }
    let apps: Vec<_> = jobs.iter().filter_map(app).collect();
    let known = jobs.iter().map(|job| job.id.as_str()).chain(apps.iter().map(String::as_str));
    let hint = match nearest(name, known) {
        Some(other) => format!("; did you mean {other}?"),
        None => "; `bootctl jobs` lists what there is".into(),
    };
    Err(JobError::Nobody { name: name.to_owned(), hint })
}
