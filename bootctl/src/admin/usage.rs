//! What instances use, asked of init when somebody looks; nothing is measured meanwhile.

use std::collections::HashMap;
use std::time::Duration;

use init_wire::JobStats;
use tokio::time::timeout;

use super::wire::AppView;
use crate::client::Init;

/// How long init may take. Without its figures the rest is told.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whom to ask.
#[derive(Clone, Debug)]
pub(crate) struct Usage(Init);

impl Usage {
    pub(crate) fn of(init: Init) -> Self {
        Self(init)
    }

    /// Whom it is asked.
    pub(super) fn init(&self) -> &Init {
        &self.0
    }

    /// Adds what is used to what is known otherwise.
    pub(super) async fn fill(&self, apps: &mut [AppView]) {
        if apps.iter().all(|app| app.instances.is_empty()) {
            return;
        }
        let Ok(Ok(all)) = timeout(PATIENCE, self.0.stats()).await else { return };
        let all: HashMap<&str, &JobStats> = all.iter().map(|job| (job.id.as_str(), job)).collect();
        for instance in apps.iter_mut().flat_map(|app| &mut app.instances) {
            let Some(job) = all.get(instance.job.as_str()) else { continue };
            instance.cpu_ms = job.cpu.user_us.zip(job.cpu.system_us).map(|(u, s)| (u + s) / 1000);
            instance.memory_bytes = job.memory.current_bytes;
        }
    }
}
