//! How near the proxy is to what is wanted of it, and how its generations are shown.

use crate::admin::wire::{GenerationView, ProxyState, ProxyView};
use crate::generation::{Generation, WantedProxy};
use crate::job::JobInfo;
use crate::plan::{Observed, Proxy, ProxyLife, SeenProxy, proxy_serves};
use crate::roster::Roster;
use crate::standing::Standing;

/// After so many restarts by init without getting ready, a generation counts as failed. It is tried
/// further all the same.
const PATIENCE: u32 = 3;

/// What stands in the way of a proxy of our own.
const FOREIGN: &str = "a job `proxyd` that bootctl did not start is in the way; stop and clear it";

/// How near. `trouble` is what init said to the last change of a job.
pub(crate) fn proxy_standing(
    wanted: Option<&WantedProxy>,
    roster: &Roster,
    observed: &Observed,
    trouble: Option<&str>,
) -> Standing {
    if observed.proxy_refused {
        return Standing::Failed(FOREIGN.into());
    }
    let Some(wanted) = wanted else { return Standing::Working("it is winding down".into()) };
    let is_current = |(generation, seen): &(&Generation, &SeenProxy)| {
        wanted.is_current(**generation, &seen.spec)
    };
    let current = || observed.proxies.iter().filter(is_current);
    if current().any(|(_, seen)| proxy_serves(seen)) {
        return Standing::Reached;
    }
    let failed = current().find_map(|(generation, _)| {
        let job = roster.proxy(*generation)?;
        (job.respawn >= PATIENCE).then(|| failure(*generation, job, observed))
    });
    match (failed, trouble) {
        (Some(failed), _) => Standing::Failed(failed),
        (None, Some(trouble)) => Standing::Failed(format!("the proxy: {trouble}")),
        (None, None) => Standing::Working("the proxy is not ready yet".into()),
    }
}

fn failure(generation: Generation, job: &JobInfo, observed: &Observed) -> String {
    let serving = observed.proxies.iter().find(|(_, seen)| proxy_serves(seen));
    let meanwhile = serving.map_or_else(
        || "no proxy serves meanwhile".to_owned(),
        |(serving, _)| format!("{serving} goes on meanwhile"),
    );
    format!(
        "{generation} does not get ready after {} restarts: {}; {meanwhile}; `bootctl log \
         proxyd` shows what it writes; run `bootctl reload` when it is put right",
        job.respawn, job.why
    )
}

/// The proxy as it is shown.
pub(crate) fn proxy_view(
    (listen, tls_listen): (String, Option<String>),
    roster: &Roster,
    observed: &Observed,
    standing: Standing,
) -> ProxyView {
    let all = observed.proxies.iter();
    let generations: Vec<GenerationView> =
        all.map(|(generation, seen)| generation_view(*generation, seen, roster)).collect();
    let best = generations.iter().rev().find(|view| view.state == ProxyState::Ready);
    let comes = || generations.iter().any(|view| view.state == ProxyState::Starting);
    let state = match best {
        Some(_) => ProxyState::Ready,
        None if comes() => ProxyState::Starting,
        None => ProxyState::Down,
    };
    let newest = best.or(generations.last());
    let why = match standing {
        Standing::Reached => None,
        Standing::Failed(why) | Standing::Working(why) => Some(why),
    };
    let pid = newest.and_then(|view| view.pid);
    ProxyView { state, pid, listen, tls_listen, why, generations }
}

fn generation_view(generation: Generation, seen: &SeenProxy, roster: &Roster) -> GenerationView {
    let job = roster.proxy(generation);
    let state = match (seen.life, &seen.table) {
        (ProxyLife::Leaving, _) => ProxyState::Draining,
        (ProxyLife::Ended, _) => ProxyState::Down,
        (ProxyLife::Running, Proxy::Known(table)) if table.serving => ProxyState::Ready,
        (ProxyLife::Running | ProxyLife::Asked | ProxyLife::Coming, _) => ProxyState::Starting,
    };
    GenerationView {
        job: generation.to_string(),
        state,
        pid: job.and_then(|job| job.pid),
        why: job.map_or_else(|| "init is asked to start it".into(), |job| job.why.clone()),
    }
}
