//! What the supervisor hears of, from everybody, over one channel.

use std::time::Duration;

use axum::http::StatusCode;
use init_wire::JobSpec;
use proxyd_wire::AcmeView;
use tokio::sync::mpsc::Sender;
use tokio::sync::oneshot;

use crate::admin::releases::ReleasesView;
use crate::admin::steps::StepView;
use crate::admin::wire::{AppView, PlanView, Refusal, StatusView};
use crate::arrival::Archive;
use crate::client::{InitError, News};
use crate::deploys::DeployNews;
use crate::generation::Generation;
use crate::giving_up::LastWords;
use crate::name::InstanceId;
use crate::plan::{Push, Table};
use crate::probe::Verdict;
use crate::proxy::ProxyError;
use crate::runlevel::HookNews;
use crate::tls::RecordNews;
use crate::work::Task;

/// One piece of news.
pub(crate) enum Event {
    /// From init.
    Jobs(News),
    /// From a probe.
    Health { id: InstanceId, pid: u32, verdict: Verdict },
    /// A start was answered, or has been given up for now.
    Started { id: InstanceId, result: Result<(), InitError> },
    /// One that failed was restarted, or not.
    Restarted { id: InstanceId, result: Result<(), InitError> },
    /// A job that asked is no more, or could not be ended.
    Swept(String),
    /// It is time to look after those that fail.
    Look,
    /// What a failed instance has written last, of an order that is to be given up.
    LastWords(LastWords),
    /// What one that is being retired has to finish.
    InFlight { id: InstanceId, count: u64 },
    /// About what is done for a new release.
    Deploy(DeployNews),
    /// A retirement is over; these processes of the proxy have it as a target no more.
    Retired { id: InstanceId, without: Vec<(Generation, u32)>, result: Result<(), InitError> },
    /// A change of the collector's job is over.
    CollectorChanged(Result<(), InitError>),
    /// A hook of a runlevel has ended.
    Hook(HookNews),
    /// A change of the gate's job is over.
    GateChanged(Result<(), InitError>),
    /// After a change of it that has failed, it is time for the next one.
    GateRested,
    /// A generation's job could not be changed.
    ProxyTrouble(Generation, InitError),
    /// A change of a generation's job is over, and was made or not.
    ProxyChanged { generation: Generation, done: bool },
    /// The generation that is this process has told its table.
    Table { generation: Generation, pid: u32, table: Table },
    /// These pushes were made, these were refused, and the next one failed if there is an error.
    Pushed {
        generation: Generation,
        pid: u32,
        made: Vec<Push>,
        refused: Vec<(Push, String)>,
        error: Option<ProxyError>,
    },
    /// From the control socket.
    Ask(Ask),
    /// The config folder is watched, and something may have changed in it.
    ConfigTouched,
    /// It is not watched any more.
    ConfigUnwatched(std::io::Error),
    /// Files of certificates are watched, and something may have changed in them; or the time of one is over.
    KeysTouched,
    /// How the generation that is this process stands with certificates that it obtains.
    Acme { generation: Generation, pid: u32, view: Box<AcmeView> },
    /// A record was placed, or taken away.
    Record(RecordNews),
    /// They are not watched any more.
    KeysUnwatched(std::io::Error),
    /// A client has waited long enough.
    Expired(u64),
    /// SIGTERM or SIGINT.
    WindDown,
}

/// A request with the way back.
pub(crate) struct Ask {
    pub(crate) verb: Verb,
    pub(crate) within: Option<Duration>,
    pub(crate) reply: oneshot::Sender<Reply>,
    /// Where progress is told, if somebody wants to know.
    pub(crate) steps: Option<Sender<StepView>>,
}

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) enum Verb {
    Status,
    Show(String),
    Start(String),
    Stop(String),
    Restart(String),
    /// Its instances go on without us.
    LetGo(String),
    TakeBack(String),
    /// This archive is to be a release.
    Receive(String, Archive),
    /// To the release before, or to the one that the text names.
    Rollback(String, Option<String>),
    Releases(String),
    Work(String, Task),
    Redeploy(String),
    Cancel(String),
    /// To as many instances as the text says.
    Scale(String, String),
    Reload,
    TakeOver,
    /// To the runlevel that the text names.
    Telinit(String),
    /// What a command of that name is to run, with these arguments.
    Custom(String, Vec<String>),
    Plan,
    RestartProxy,
}

/// What is answered.
#[derive(Debug)]
pub(crate) enum Reply {
    Status(Box<StatusView>),
    App(AppView),
    Plan(PlanView),
    Releases(ReleasesView),
    Custom(Box<JobSpec>),
    Refused(StatusCode, Refusal),
}
