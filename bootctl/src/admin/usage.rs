//! What instances use, asked of init when somebody looks; nothing is measured meanwhile.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use init_wire::JobStats;
use tokio::time::timeout;

use super::wire::{AppView, ProxyState, StatusView};
use crate::client::Init;
use crate::generation::Generation;
use crate::proxy::Control;

/// How long init may take. Without its figures the rest is told.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whom to ask.
#[derive(Clone, Debug)]
pub(crate) struct Usage {
    init: Init,
    /// Where the proxies' sockets are.
    run_dir: PathBuf,
}

impl Usage {
    pub(crate) fn of(init: Init, run_dir: PathBuf) -> Self {
        Self { init, run_dir }
    }

    /// Adds how many requests each app has had, if the proxy that serves tells it.
    pub(super) async fn count_requests(&self, view: &mut StatusView) {
        let ready = view.proxy.generations.iter().rev().find(|it| it.state == ProxyState::Ready);
        let Some(generation) = ready.and_then(|it| Generation::of_job(&it.job)) else { return };
        let proxy = Control::of(generation, &self.run_dir);
        let Ok(Ok(counts)) = timeout(PATIENCE, proxy.requests()).await else { return };
        for app in &mut view.apps {
            let mine = app.hosts.iter().filter_map(|host| counts.get(host));
            app.requests = (!app.hosts.is_empty()).then(|| mine.sum());
        }
    }

    /// Whom it is asked.
    pub(super) fn init(&self) -> &Init {
        &self.init
    }

    /// Adds what is used to what is known otherwise.
    pub(super) async fn fill(&self, apps: &mut [AppView]) {
        if apps.iter().all(|app| app.instances.is_empty()) {
            return;
        }
        let Ok(Ok(all)) = timeout(PATIENCE, self.init.stats()).await else { return };
        let all: HashMap<&str, &JobStats> = all.iter().map(|job| (job.id.as_str(), job)).collect();
        for instance in apps.iter_mut().flat_map(|app| &mut app.instances) {
            let Some(job) = all.get(instance.job.as_str()) else { continue };
            instance.cpu_ms = job.cpu.user_us.zip(job.cpu.system_us).map(|(u, s)| (u + s) / 1000);
            instance.memory_bytes = job.memory.current_bytes;
        }
    }
}
