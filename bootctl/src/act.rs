//! Does what was planned, each thing in a task of its own that reports back as an event.

use std::time::Duration;

use init_wire::JobSpec;
use tokio::sync::mpsc::Sender;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::client::{Init, InitError};
use crate::event::Event;
use crate::name::InstanceId;
use crate::plan::Push;
use crate::proxy::{self, Control};

/// The pause before something is tried again that did not work for no fault of its own.
const BREATH: Duration = Duration::from_millis(300);
/// The same for the proxy's job, whose port may be somebody else's for a while.
const PROXY_BREATH: Duration = Duration::from_secs(2);

/// The hands of the supervisor.
#[derive(Clone, Debug)]
pub(crate) struct Hands {
    pub(crate) init: Init,
    pub(crate) control: Control,
    pub(crate) tell: Sender<Event>,
}

impl Hands {
    pub(crate) fn start(&self, id: InstanceId, spec: Box<JobSpec>) {
        let Self { init, tell, .. } = self.clone();
        info!("starting {id}");
        tokio::spawn(async move {
            let result = init.start(&id.to_string(), &spec).await;
            breathe(&id, &result).await;
            report(&tell, Event::Started { id, result }).await;
        });
    }

    /// The proxy first, so that no request finds the instance gone. `grace` is none where the
    /// proxy does not know it.
    pub(crate) fn retire(&self, id: InstanceId, spec: JobSpec, grace: Option<Duration>) {
        let Self { init, control, tell } = self.clone();
        info!("retiring {id}");
        tokio::spawn(async move {
            if let Some(grace) = grace {
                match control.drain(&id, grace).await {
                    Ok(0) => {}
                    Ok(left) => warn!("{id} is stopped with {left} requests unanswered"),
                    Err(error) => warn!("{id} is stopped without being drained: {error}"),
                }
            }
            let result = init.end(&id.to_string(), &spec).await;
            breathe(&id, &result).await;
            report(&tell, Event::Retired { id, result }).await;
        });
    }

    pub(crate) fn start_proxy(&self, spec: Box<JobSpec>) {
        let Self { init, tell, .. } = self.clone();
        info!("starting the proxy");
        tokio::spawn(async move {
            if let Err(error) = init.start(proxy::JOB, &spec).await {
                warn!("the proxy does not start: {error}");
                report(&tell, Event::ProxyTrouble(error)).await;
                sleep(PROXY_BREATH).await;
                return report(&tell, Event::ProxyChanged { there: None }).await;
            }
            report(&tell, Event::ProxyChanged { there: Some(true) }).await;
        });
    }

    pub(crate) fn stop_proxy(&self, spec: JobSpec) {
        let Self { init, tell, .. } = self.clone();
        info!("stopping the proxy");
        tokio::spawn(async move {
            if let Err(error) = init.end(proxy::JOB, &spec).await {
                warn!("the proxy does not stop: {error}");
                report(&tell, Event::ProxyTrouble(error)).await;
                sleep(BREATH).await;
                return report(&tell, Event::ProxyChanged { there: None }).await;
            }
            report(&tell, Event::ProxyChanged { there: Some(false) }).await;
        });
    }

    /// Asks the proxy for its table until it tells. Ends with the process that was asked, which
    /// the caller sees to.
    pub(crate) fn read_table(&self, pid: u32) -> tokio::task::AbortHandle {
        let Self { control, tell, .. } = self.clone();
        let task = tokio::spawn(async move {
            loop {
                match control.table().await {
                    Ok(table) => return report(&tell, Event::Table { pid, table }).await,
                    Err(error) => warn!("the proxy does not tell its routes: {error}"),
                }
                sleep(BREATH).await;
            }
        });
        task.abort_handle()
    }

    pub(crate) fn push(&self, pid: u32, pushes: Vec<Push>) {
        let Self { control, tell, .. } = self.clone();
        tokio::spawn(async move {
            let mut made = Vec::new();
            let mut error = None;
            for push in pushes {
                match control.push(&push).await {
                    Ok(()) => made.push(push),
                    Err(failed) => {
                        warn!("the proxy was not told: {failed}");
                        sleep(BREATH).await;
                        error = Some(failed);
                        break;
                    }
                }
            }
            report(&tell, Event::Pushed { pid, made, error }).await;
        });
    }
}

/// What was refused for its own sake is told at once; the rest is tried again after a breath.
async fn breathe(id: &InstanceId, result: &Result<(), InitError>) {
    match result {
        Ok(()) => {}
        Err(error @ InitError::Refused(_)) => warn!("{id}: {error}"),
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
