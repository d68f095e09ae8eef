//! Does what was planned, each thing in a task of its own that reports back as an event.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use init_wire::JobSpec;
use proxyd_wire::AcmePlaced;
use tokio::sync::mpsc::Sender;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::app::Drain;
use crate::client::{Init, InitError};
use crate::collecting;
use crate::event::Event;
use crate::generation::Generation;
use crate::name::InstanceId;
use crate::place::Place;
use crate::plan::Push;
use crate::proxy::Control;
use crate::snapshot;
use crate::socket_file;
use crate::telling::{self, Outcome};

/// The pause before something is tried again that did not work for no fault of its own.
const BREATH: Duration = Duration::from_millis(300);
/// The same for the proxy's job, whose port may be somebody else's for a while.
const PROXY_BREATH: Duration = Duration::from_secs(2);

/// How long it is waited for what a failed instance has written, and how much of it is told.
const HEARING: Duration = Duration::from_secs(2);
const LAST_LINES: usize = 10;

/// When it is looked how much a retired instance has to finish: most have nothing.
const FIRST_COUNT: Duration = Duration::from_millis(100);
const NEXT_COUNT: Duration = Duration::from_secs(1);

/// The hands of the supervisor.
#[derive(Clone, Debug)]
pub(crate) struct Hands {
    pub(crate) init: Init,
    /// Where the generations' control sockets are.
    pub(crate) run_dir: PathBuf,
    pub(crate) tell: Sender<Event>,
}

impl Hands {
    pub(crate) fn start(&self, id: InstanceId, spec: Arc<JobSpec>) {
        let Self { init, tell, .. } = self.clone();
        tokio::spawn(async move {
            info!("starting {id}");
            let result = match socket_file::prepare(&spec) {
                Ok(()) => init.start(&id.to_string(), &spec).await,
                Err(error) => Err(error.into()),
            };
            breathe(&id, &result).await;
            report(&tell, Event::Started { id, result }).await;
        });
    }

    /// Makes a process that was let go of an instance again. Its socket is there.
    pub(crate) fn take_back(&self, id: InstanceId, spec: Arc<JobSpec>) {
        let Self { init, tell, .. } = self.clone();
        info!("taking {id} back");
        tokio::spawn(async move {
            let result = init.start(&id.to_string(), &spec).await;
            breathe(&id, &result).await;
            report(&tell, Event::Started { id, result }).await;
        });
    }

    /// The proxy first, in each of these generations, so that no request finds the instance gone. Then it is ended, or
    /// let go of.
    pub(crate) fn retire(
        &self,
        id: InstanceId,
        spec: Arc<JobSpec>,
        processes: &[(Generation, u32)],
        drain: Drain,
        lets_go: bool,
    ) {
        let Self { init, tell, .. } = self.clone();
        info!("retiring {id}");
        let ask = |process: &(Generation, u32)| {
            let (control, id) = (self.control(process.0), id.clone());
            (*process, tokio::spawn(async move { control.drain(&id, drain).await }))
        };
        // All at once: the time is one for all of them.
        let drains: Vec<_> = processes.iter().map(ask).collect();
        let controls = processes.iter().map(|(generation, _)| self.control(*generation)).collect();
        let count = tokio::spawn(count(controls, id.clone(), tell.clone())).abort_handle();
        tokio::spawn(async move {
            let mut without = Vec::new();
            for (process, drain) in drains {
                match drain.await {
                    Ok(Ok(0)) => without.push(process),
                    Ok(Ok(left)) => {
                        without.push(process);
                        warn!("{id} is stopped with {left} requests and streams in flight");
                    }
                    Err(_) => {}
                    Ok(Err(error)) => warn!("{id} is stopped without being drained: {error}"),
                }
            }
            count.abort();
            let result = if lets_go {
                init.let_go(&id.to_string(), &spec).await
            } else {
                init.end(&id.to_string(), &spec).await
            };
            if result.is_ok() && !lets_go {
                socket_file::remove_all(&spec);
            }
            breathe(&id, &result).await;
            report(&tell, Event::Retired { id, without, result }).await;
        });
    }

    /// Stops one that fails and starts it again, in its place.
    pub(crate) fn restart(&self, id: InstanceId, spec: Arc<JobSpec>) {
        let Self { init, tell, .. } = self.clone();
        tokio::spawn(async move {
            if let Some(path) = Place::of(&spec).as_ref().and_then(Place::path) {
                socket_file::remove(path);
            }
            let result = init.restart(&id.to_string(), &spec).await;
            breathe(&id, &result).await;
            report(&tell, Event::Restarted { id, result }).await;
        });
    }

    /// Ends a job that asked for a watch that is over.
    pub(crate) fn sweep(&self, job: String, spec: Arc<JobSpec>) {
        let Self { init, tell, .. } = self.clone();
        tokio::spawn(async move {
            if let Err(error) = init.end(&job, &spec).await {
                warn!("{job} is not cleared: {error}");
                sleep(BREATH).await;
            }
            report(&tell, Event::Swept(job)).await;
        });
    }

    /// Tells as an event what an instance has written last; nothing of what is not kept.
    pub(crate) fn hear(
        &self,
        id: Option<&InstanceId>,
        event: impl FnOnce(Vec<String>) -> Event + Send + 'static,
    ) {
        let (words, tell) = (self.last_words(id), self.tell.clone());
        tokio::spawn(async move { report(&tell, event(words.await)).await });
    }

    /// What an instance has written last; nothing of what is not kept.
    pub(crate) fn last_words(
        &self,
        id: Option<&InstanceId>,
    ) -> impl Future<Output = Vec<String>> + 'static {
        let (init, job) = (self.init.clone(), id.map(ToString::to_string));
        async move {
            let Some(job) = job else { return Vec::new() };
            let words = timeout(HEARING, init.last_lines(&job, LAST_LINES)).await;
            words.unwrap_or_default()
        }
    }

    pub(crate) fn start_proxy(&self, generation: Generation, spec: Arc<JobSpec>) {
        let Self { init, tell, run_dir } = self.clone();
        info!("starting {generation}");
        tokio::spawn(async move {
            snapshot::prepare(generation, &run_dir, spec.user.as_ref());
            let started = init.start(&generation.to_string(), &spec).await;
            let done = started.is_ok();
            if let Err(error) = started {
                warn!("{generation} does not start: {error}");
                report(&tell, Event::ProxyTrouble(generation, error)).await;
                sleep(PROXY_BREATH).await;
            }
            report(&tell, Event::ProxyChanged { generation, done }).await;
        });
    }

    pub(crate) fn stop_proxy(&self, generation: Generation, spec: Arc<JobSpec>) {
        let Self { init, tell, run_dir } = self.clone();
        info!("stopping {generation}");
        tokio::spawn(async move {
            let ended = init.end(&generation.to_string(), &spec).await;
            let done = ended.is_ok();
            if done {
                snapshot::remove(generation, &run_dir);
            }
            if let Err(error) = ended {
                warn!("{generation} does not stop: {error}");
                report(&tell, Event::ProxyTrouble(generation, error)).await;
                sleep(BREATH).await;
            }
            report(&tell, Event::ProxyChanged { generation, done }).await;
        });
    }

    pub(crate) fn start_collector(&self, spec: Arc<JobSpec>) {
        let Self { init, tell, .. } = self.clone();
        info!("starting {}", collecting::JOB);
        tokio::spawn(async move {
            let started = init.start(collecting::JOB, &spec).await;
            collector_changed(&tell, started).await;
        });
    }

    pub(crate) fn stop_collector(&self, spec: Arc<JobSpec>) {
        let Self { init, tell, .. } = self.clone();
        info!("stopping {}", collecting::JOB);
        tokio::spawn(async move {
            let ended = init.end(collecting::JOB, &spec).await;
            collector_changed(&tell, ended).await;
        });
    }

    /// Asks a generation for its table until it tells. Ends with the process that was asked, which
    /// the caller sees to.
    pub(crate) fn read_table(&self, generation: Generation, pid: u32) -> AbortHandle {
        let (control, tell) = (self.control(generation), self.tell.clone());
        let task = tokio::spawn(async move {
            loop {
                match control.table().await {
                    Ok(table) => {
                        return report(&tell, Event::Table { generation, pid, table }).await;
                    }
                    Err(error) => warn!("{generation} does not tell its routes: {error}"),
                }
                sleep(BREATH).await;
            }
        });
        task.abort_handle()
    }

    /// Tells how a generation stands with certificates that it obtains, whenever that is new. Ends when the caller has
    /// it end.
    pub(crate) fn follow_acme(&self, generation: Generation, pid: u32) -> AbortHandle {
        let (control, tell) = (self.control(generation), self.tell.clone());
        let task = tokio::spawn(async move {
            let mut known = None;
            loop {
                match control.acme(known).await {
                    Ok(view) if known == Some(view.revision) => {}
                    Ok(view) => {
                        known = Some(view.revision);
                        report(&tell, Event::Acme { generation, pid, view: Box::new(view) }).await;
                    }
                    Err(error) => {
                        warn!("{generation} does not tell of certificates: {error}");
                        sleep(BREATH).await;
                    }
                }
            }
        });
        task.abort_handle()
    }

    /// Tells a generation what has become of a record that it wants to see.
    pub(crate) fn place(
        &self,
        generation: Generation,
        record: String,
        values: Vec<String>,
        error: Option<String>,
    ) {
        let control = self.control(generation);
        tokio::spawn(async move {
            let placed = AcmePlaced { values, error };
            if let Err(error) = control.place(&record, &placed).await {
                warn!("{generation} was not told of the record {record}: {error}");
            }
        });
    }

    pub(crate) fn push(&self, generation: Generation, pid: u32, pushes: Vec<Push>) {
        let (control, tell) = (self.control(generation), self.tell.clone());
        tokio::spawn(async move {
            let Outcome { made, refused, error } =
                telling::tell(&control, generation, pushes).await;
            if let Some(error) = &error {
                warn!("{generation} was not told: {error}");
                sleep(BREATH).await;
            }
            report(&tell, Event::Pushed { generation, pid, made, refused, error }).await;
        });
    }

    fn control(&self, generation: Generation) -> Control {
        Control::of(generation, &self.run_dir)
    }
}

async fn collector_changed(tell: &Sender<Event>, result: Result<(), InitError>) {
    if let Err(error) = &result {
        warn!("{}: {error}", collecting::JOB);
        sleep(PROXY_BREATH).await;
    }
    report(tell, Event::CollectorChanged(result)).await;
}

/// Tells now and then how much an instance has to finish, for as long as it is let.
async fn count(controls: Vec<Control>, id: InstanceId, tell: Sender<Event>) {
    let mut pause = FIRST_COUNT;
    loop {
        sleep(pause).await;
        let mut count = 0_u64;
        for control in &controls {
            // One that has ended, or has never known it, has none.
            count = count.saturating_add(control.in_flight(&id).await.unwrap_or_default());
        }
        report(&tell, Event::InFlight { id: id.clone(), count }).await;
        pause = NEXT_COUNT;
    }
}

/// What was refused for its own sake is told at once; the rest is tried again after a breath.
async fn breathe(id: &InstanceId, result: &Result<(), InitError>) {
    match result {
        Ok(()) => {}
        Err(error @ (InitError::Refused(_) | InitError::Socket(_))) => warn!("{id}: {error}"),
        Err(error) => {
            warn!("{id}: {error}");
            sleep(BREATH).await;
        }
    }
}

async fn report(tell: &Sender<Event>, event: Event) {
    // Without a supervisor there is nobody to care.
    drop(tell.send(event).await);
}
