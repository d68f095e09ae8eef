//! Verbs about init's jobs, whoever has started them. They ask init itself, so they work without a supervisor.

pub(super) mod adopt;
pub(super) mod detach;
pub(super) mod events;
pub(super) mod exec;
pub(super) mod kill;
pub(super) mod list;
pub(super) mod output;
pub(super) mod stats;

use std::io;
use std::process::ExitCode;

use init_wire::JobInfo;

use crate::admin::client::ClientError;
use crate::app::identify;
use crate::boot::{BadAddress, init_address};
use crate::cli::InitAt;
use crate::client::{Init, InitError};
use crate::http::HttpError;
use crate::name::nearest;
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
    #[error("there is no job and no app with instances that is called {name:?}{hint}")]
    Nobody { name: String, hint: String },
    #[error(
        "{job} is an instance of the app {app}, and another one would be started in its place; `bootctl \
         stop {app}` ends it, and `web`, `socket` and the other keys of its file say how it runs"
    )]
    Instance { job: String, app: String },
    #[error("cannot begin: {0}")]
    Runtime(io::Error),
    #[error("this terminal cannot be used: {0}")]
    Terminal(#[from] io::Error),
}

/// Does something with init's help; how the command ends.
fn run(at: &InitAt, work: impl AsyncFnOnce(Init) -> Result<ExitCode, JobError>) -> ExitCode {
    match try_to(at, work) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bootctl: {error}");
            match error {
                JobError::Init(InitError::Unreachable(..)) => ExitCode::from(super::UNREACHABLE),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn try_to(
    at: &InitAt,
    work: impl AsyncFnOnce(Init) -> Result<ExitCode, JobError>,
) -> Result<ExitCode, JobError> {
    let init = Init::at(init_address(at.address)?, Token::of_init()?.as_ref());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(JobError::Runtime)?;
    let code = runtime.block_on(work(init));
    // A thread that reads this terminal may wait for a key for ever.
    runtime.shutdown_background();
    code
}

/// The job of that name, or the instances of the app of that name.
async fn meant(init: &Init, name: &str) -> Result<Vec<JobInfo>, JobError> {
    let jobs = init.jobs().await?;
    if let Some(job) = jobs.iter().find(|job| job.id == name) {
        return Ok(vec![job.clone()]);
    }
    let app = |job: &JobInfo| identify(&job.id, &job.spec).map(|(id, _)| id.app.to_string());
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
