//! A contest: every subject is measured once a round, and the median of the rounds counts, so that
//! what else the machine does falls on all alike.
//!
//! Proxies run on core 0, load and origin on core 1.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use crate::ask::Ask;
use crate::cpu;
use crate::load;
use crate::peers::{self, Peer, Setting};
use crate::report::{Row, median};

/// The peers that ours is to be better than: the others are there for comparison.
const BEST_OF: [&str; 2] = ["nginx", "haproxy"];

/// Peers that are several times as slow as others have few rounds: they would take most of the time.
const SLOW: [&str; 2] = ["caddy", "traefik"];
const ROUNDS_OF_SLOW: usize = 2;

pub struct Subject {
    pub name: &'static str,
    pub peer: Peer,
}

/// How a subject is started.
pub type Start = fn(&Setting) -> Result<Peer, String>;

pub const PROXYD: (&str, Start) = ("proxyd", peers::proxyd::to_tcp);
pub const PROXYD_UNIX: (&str, Start) = ("proxyd to a unix socket", peers::proxyd::to_unix);
pub const NGINX: (&str, Start) = ("nginx", peers::nginx::start);
pub const HAPROXY: (&str, Start) = ("haproxy", peers::haproxy::start);
pub const HAPROXY_SPLICE: (&str, Start) = ("haproxy that splices", peers::haproxy::splicing);
pub const CADDY: (&str, Start) = ("caddy", peers::caddy::start);
pub const TRAEFIK: (&str, Start) = ("traefik", peers::traefik::start);
pub const RELAY: (&str, Start) = ("relay", peers::relay::to_tcp);
pub const RELAY_UNIX: (&str, Start) = ("relay to a unix socket", peers::relay::to_unix);
pub const RELAY_SPLICE: (&str, Start) = ("relay that splices", peers::relay::splicing);

/// Those that speak TLS.
pub const OVER_TLS: [(&str, Start); 3] = [
    ("proxyd", peers::proxyd::over_tls),
    ("nginx", peers::nginx::over_tls),
    ("haproxy", peers::haproxy::over_tls),
];

static ONLY: OnceLock<Vec<String>> = OnceLock::new();

/// Has only subjects take part whose names begin with one of these; all if there is none.
pub fn restrict(names: Vec<String>) {
    let _ = ONLY.set(names);
}

fn takes_part(name: &str) -> bool {
    ONLY.get().is_none_or(|only| only.is_empty() || only.iter().any(|some| name.starts_with(some)))
}

/// Starts them on core 0, and leaves this thread on core 1.
pub fn line_up(figure: &str, setting: &Setting, who: &[(&'static str, Start)]) -> Vec<Subject> {
    let ask = |address| load::run(setting, address, &Ask::small(), 1, 1);
    line_up_by(figure, setting, who, ask)
}

/// The same for those that are to be asked in a way of their own.
pub fn line_up_by(
    figure: &str,
    setting: &Setting,
    who: &[(&'static str, Start)],
    ask: impl Fn(SocketAddr) -> Result<(), String>,
) -> Vec<Subject> {
    cpu::pin(0);
    let mut subjects = Vec::new();
    for (name, start) in who.iter().filter(|(name, _)| takes_part(name)) {
        match start(setting).and_then(|peer| answering(peer, &ask)) {
            Ok(peer) => subjects.push(Subject { name, peer }),
            Err(why) => eprintln!("!!! {figure}: {name} is SKIPPED: {why}"),
        }
    }
    cpu::pin(1);
    subjects
}

/// Waits until it answers from behind: some listen before they know where to.
fn answering(peer: Peer, ask: impl Fn(SocketAddr) -> Result<(), String>) -> Result<Peer, String> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while let Err(why) = ask(peer.address) {
        if Instant::now() > deadline {
            return Err(why);
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(peer)
}

/// Values of subjects by name.
pub struct Standing(Vec<(&'static str, f64)>);

/// Measures all in as many rounds, after one that does not count. `once` is told whether it counts.
pub fn run(
    figure: &str,
    subjects: &[Subject],
    rounds: usize,
    mut once: impl FnMut(&Subject, bool) -> Result<f64, String>,
) -> Standing {
    let mut values = Vec::new();
    for round in 0..=rounds {
        for subject in subjects {
            if round > ROUNDS_OF_SLOW && SLOW.contains(&subject.name) {
                continue;
            }
            match once(subject, round > 0) {
                Ok(value) if round > 0 => values.push((subject.name, value)),
                Ok(_) => {}
                Err(why) => {
                    eprintln!("!!! {figure}: a round of {} is SKIPPED: {why}", subject.name);
                }
            }
        }
    }
    medians(subjects, values)
}

/// Measures all a single time.
pub fn run_once(
    figure: &str,
    subjects: &[Subject],
    mut once: impl FnMut(&Subject) -> Result<f64, String>,
) -> Standing {
    let mut values = Vec::new();
    for subject in subjects {
        match once(subject) {
            Ok(value) => values.push((subject.name, value)),
            Err(why) => eprintln!("!!! {figure}: {} is SKIPPED: {why}", subject.name),
        }
    }
    Standing(values)
}

/// The median of each subject's values.
pub fn medians(subjects: &[Subject], values: Vec<(&'static str, f64)>) -> Standing {
    let mut by_name: HashMap<&str, Vec<f64>> = HashMap::new();
    for (name, value) in values {
        by_name.entry(name).or_default().push(value);
    }
    let medians = subjects.iter().filter_map(|subject| {
        let rounds = by_name.remove(subject.name)?;
        Some((subject.name, median(rounds)))
    });
    Standing(medians.collect())
}

/// Microseconds of CPU that a subject uses while something is done, a piece of so many.
pub fn cost(
    subject: &Subject,
    pieces: usize,
    mut work: impl FnMut() -> Result<(), String>,
) -> Result<f64, String> {
    let before = cpu::used(subject.peer.pid());
    work()?;
    let used = cpu::used(subject.peer.pid()) - before;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    Ok(used as f64 / pieces as f64 / 1000.0)
}

/// What ours is to reach: at most so much of another's value.
pub enum Than {
    /// Of the lowest of those in `BEST_OF`.
    Best,
    Subject(&'static str),
}

impl Standing {
    fn value(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(subject, _)| *subject == name).map(|(_, value)| *value)
    }

    fn best(&self) -> Option<(String, f64)> {
        let of = BEST_OF.iter().filter_map(|name| Some((*name, self.value(name)?)));
        let best = of.min_by(|(_, one), (_, other)| one.total_cmp(other))?;
        Some((format!("the best peer, {}", best.0), best.1))
    }

    /// A row a subject, and one for each thing that one of ours is to reach.
    pub fn rows(
        &self,
        figure: &str,
        what: &str,
        unit: &str,
        reach: &[(&str, Than, f64)],
    ) -> Vec<Row> {
        let mut rows = Vec::new();
        for (name, value) in &self.0 {
            let subject =
                if what.is_empty() { (*name).to_owned() } else { format!("{name}: {what}") };
            let row = Row::new(figure, &subject, *value, unit);
            let compared: Vec<Row> = reach
                .iter()
                .filter(|(ours, ..)| ours == name)
                .filter_map(|(_, than, most)| {
                    let (other, theirs) = match than {
                        Than::Best => self.best()?,
                        Than::Subject(other) => ((*other).to_owned(), self.value(other)?),
                    };
                    Some(row.compared(&other, theirs).at_most(*most))
                })
                .collect();
            if compared.is_empty() { rows.push(row) } else { rows.extend(compared) }
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_is_compared_to_the_best_of_its_peers() {
        let standing = Standing(vec![("proxyd", 8.0), ("nginx", 10.0), ("haproxy", 16.0)]);
        let reach = [("proxyd", Than::Best, 0.9), ("proxyd", Than::Subject("relay"), 1.1)];
        let rows = standing.rows("figure", "", "us", &reach);
        let ratios: Vec<_> = rows.iter().map(|row| (row.subject.as_str(), row.ratio)).collect();
        assert_eq!(ratios, [("proxyd", Some(0.8)), ("nginx", None), ("haproxy", None)]);
        assert_eq!(rows[0].ratio_to.as_deref(), Some("the best peer, nginx"));
    }
}
