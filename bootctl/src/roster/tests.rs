//! What is known after a few pieces of news, in the orders in which they may come; and that looking piece by piece
//! leads to what looking at everything does.

use std::sync::Arc;

use init_wire::{JobEvent, JobSpec, Status};
use proptest::prelude::*;

use super::*;
use crate::app::sample;
use crate::health::Health;
use crate::name::Port;
use crate::order::Order;
use crate::plan::{Life, Push, Table, key};
use crate::probe::Verdict;

fn id() -> InstanceId {
    InstanceId::new(AppName::parse("a").expect("a name"), 1)
}

fn place() -> Place {
    Place::Port(Port::new(9000).expect("not 0"))
}

fn spec(id: &InstanceId) -> JobSpec {
    Order::new(sample(id.app.as_str(), 1)).job(id.number, &place())
}

fn told(name: &str, spec: JobSpec, status: Status, pid: u32) -> init_wire::JobInfo {
    init_wire::JobInfo {
        id: name.into(),
        status,
        pid: Some(pid),
        last_exit: None,
        respawn: 0,
        why: String::new(),
        started_at: None,
        ended_at: None,
        next_start: None,
        status_text: None,
        spec,
    }
}

fn event(status: Status, pid: u32) -> JobEvent {
    JobEvent::Job { seq: 1, job: Box::new(told("a.1", spec(&id()), status, pid)) }
}

fn life(roster: &Roster) -> Option<Life> {
    roster.observed().instances.get(&id()).map(|seen| seen.life)
}

#[test]
fn a_start_is_counted_until_its_event_comes_whichever_comes_first() {
    for event_first in [true, false] {
        let mut roster = Roster::default();
        roster.starting(&id(), place(), Arc::new(spec(&id())));
        assert_eq!(life(&roster), Some(Life::Asked));
        if event_first {
            roster.take(event(Status::Running, 7));
            assert_eq!(life(&roster), Some(Life::Asked));
            roster.answered(&id(), true);
        } else {
            roster.answered(&id(), true);
            assert_eq!(life(&roster), Some(Life::Asked));
            roster.take(event(Status::Running, 7));
        }
        assert_eq!(life(&roster), Some(Life::Running(Health::Unknown)));
    }
}

#[test]
fn a_retired_one_is_leaving_until_it_is_gone() {
    let mut roster = Roster::default();
    roster.take(event(Status::Running, 7));
    roster.retiring(&id());
    assert_eq!(life(&roster), Some(Life::Leaving));
    roster.answered(&id(), true);
    roster.take(event(Status::Success, 7));
    assert_eq!(life(&roster), Some(Life::Leaving));
    roster.take(JobEvent::Gone { seq: 2, id: "a.1".into() });
    assert_eq!(life(&roster), None);
}

#[test]
fn what_somebody_had_stopped_and_did_not_clear_has_not_failed() {
    for (status, why, expected) in [
        (Status::Success, "stopped on request", Life::Stopped),
        (Status::Success, "ended with exit code 0", Life::Ended),
        (Status::Failed, "ended with exit code 1", Life::Ended),
    ] {
        let mut roster = Roster::default();
        let JobEvent::Job { seq, mut job } = event(status, 7) else { panic!("it is a job") };
        job.why = why.into();
        roster.take(JobEvent::Job { seq, job });
        assert_eq!(life(&roster), Some(expected), "{why}");
    }
}

#[test]
fn a_new_process_is_not_ready_because_the_old_one_was() {
    let mut roster = Roster::default();
    roster.take(event(Status::Running, 7));
    roster.judge(&id(), 7, Verdict { health: Health::Ready, fault: None });
    assert_eq!(life(&roster), Some(Life::Running(Health::Ready)));
    roster.take(event(Status::Running, 8));
    assert_eq!(life(&roster), Some(Life::Running(Health::Unready)));
}

/// The first generation of the proxy runs.
fn proxy_runs(roster: &mut Roster, pid: u32) {
    let mut proxy = JobSpec::new("proxyd");
    proxy.envs.insert(crate::generation::ENV_MARK.into(), "1".into());
    let job = Box::new(told("proxyd", proxy, Status::Running, pid));
    roster.take(JobEvent::Job { seq: 1, job });
}

#[test]
fn p04_what_one_process_of_the_proxy_has_let_go_of_another_one_may_have() {
    let (mut roster, first) = (Roster::default(), Generation::FIRST);
    proxy_runs(&mut roster, 5);
    roster.ask_for_table(first, 5);
    let target = proxyd_wire::Target::at(place().address());
    let targets = [(key(&id()), target)].into();
    assert!(roster.take_table(first, 5, Table { targets, ..Table::default() }));
    let knows = |roster: &Roster| match roster.told(first) {
        Some(Told::Table { table, .. }) => table.targets.contains_key(&key(&id())),
        Some(Told::Asked { .. }) | None => false,
    };
    roster.drained(&id(), &[]);
    roster.drained(&id(), &[(first, 4), (first.next(), 5)]);
    assert!(knows(&roster), "it was another one");
    roster.drained(&id(), &[(first, 4), (first, 5)]);
    assert!(!knows(&roster));
}

#[test]
fn o10_a_generation_is_told_only_of_apps_that_were_touched() {
    let (mut roster, first) = (Roster::default(), Generation::FIRST);
    proxy_runs(&mut roster, 5);
    roster.ask_for_table(first, 5);
    assert!(roster.take_tellings().is_empty(), "it has not told yet");
    assert!(!roster.take_table(first, 6, Table::default()), "another process was asked");
    assert!(roster.take_table(first, 5, Table::default()));
    assert_eq!(roster.take_tellings(), [(first, Touched::All)].into());
    roster.take_touched();
    let target = proxyd_wire::Target::at(place().address());
    roster.pushing(first, [id()].into());
    roster.take(event(Status::Running, 7));
    assert!(roster.take_tellings().is_empty(), "it is being told something");
    roster.pushed(first, 5, vec![Push::Target { id: id(), target }]);
    let only = Touched::Only([id().app].into());
    assert_eq!(roster.take_tellings(), [(first, only.clone())].into());
    assert_eq!(roster.take_touched(), only);
    let observed = roster.observed();
    let Some(crate::plan::Proxy::Known(table)) = observed.proxies.get(&first).map(|p| &p.table)
    else {
        panic!("it has told")
    };
    assert_eq!(table.targets.len(), 1);
}

/// A piece of news about the n-th of a few instances.
#[derive(Clone, Debug)]
enum Piece {
    Job(u32, Status, u32),
    Foreign(u32),
    Gone(u32),
    Starting(u32),
    Retiring(u32),
    Restarting(u32),
    Answered(u32, bool),
    Restarted(u32),
    Judged(u32, u32, Health),
    Told(u32),
    Drained(u32),
    Anew,
    Ready,
    Proxy(Status, u32),
}

fn piece() -> impl Strategy<Value = Piece> {
    let (n, pid) = (0..4_u32, 1..4_u32);
    let status = || {
        prop::sample::select(vec![
            Status::Starting,
            Status::Running,
            Status::Running,
            Status::Stopping,
            Status::Backoff,
            Status::Success,
            Status::Failed,
        ])
    };
    let health = prop::sample::select(vec![Health::Ready, Health::Unready, Health::Failing]);
    prop_oneof![
        6 => (n.clone(), status(), pid.clone()).prop_map(|(n, s, p)| Piece::Job(n, s, p)),
        1 => n.clone().prop_map(Piece::Foreign),
        2 => n.clone().prop_map(Piece::Gone),
        2 => n.clone().prop_map(Piece::Starting),
        2 => n.clone().prop_map(Piece::Retiring),
        1 => n.clone().prop_map(Piece::Restarting),
        3 => (n.clone(), any::<bool>()).prop_map(|(n, done)| Piece::Answered(n, done)),
        1 => n.clone().prop_map(Piece::Restarted),
        4 => (n.clone(), pid.clone(), health).prop_map(|(n, p, h)| Piece::Judged(n, p, h)),
        1 => n.clone().prop_map(Piece::Told),
        1 => n.prop_map(Piece::Drained),
        1 => Just(Piece::Anew),
        2 => Just(Piece::Ready),
        2 => (status(), pid).prop_map(|(s, p)| Piece::Proxy(s, p)),
    ]
}

fn nth(n: u32) -> InstanceId {
    let app = if n.is_multiple_of(2) { "a" } else { "b.example" };
    InstanceId::new(AppName::parse(app).expect("a name"), n / 2 + 1)
}

fn take(roster: &mut Roster, piece: &Piece) {
    let job = |name: &str, spec, status, pid| JobEvent::Job {
        seq: 1,
        job: Box::new(told(name, spec, status, pid)),
    };
    match *piece {
        Piece::Job(n, status, pid) => {
            roster.take(job(&nth(n).to_string(), spec(&nth(n)), status, pid));
        }
        Piece::Foreign(n) => {
            roster.take(job(&nth(n).to_string(), JobSpec::new("x"), Status::Running, 9));
        }
        Piece::Gone(n) => roster.take(JobEvent::Gone { seq: 1, id: nth(n).to_string() }),
        Piece::Starting(n) => roster.starting(&nth(n), place(), Arc::new(spec(&nth(n)))),
        Piece::Retiring(n) => roster.retiring(&nth(n)),
        Piece::Restarting(n) => roster.restarting(&nth(n)),
        Piece::Answered(n, done) => roster.answered(&nth(n), done),
        Piece::Restarted(n) => roster.restarted(&nth(n)),
        Piece::Judged(n, pid, health) => {
            roster.judge(&nth(n), pid, Verdict { health, fault: None });
            roster.see_lost();
        }
        Piece::Told(n) => {
            roster.ask_for_table(Generation::FIRST, n);
            let mut table = Table::default();
            let target = proxyd_wire::Target::at(place().address());
            table.apply(Push::Target { id: nth(n), target });
            assert!(roster.take_table(Generation::FIRST, n, table));
            roster.see_lost();
        }
        Piece::Drained(n) => roster.drained(&nth(n), &[(Generation::FIRST, n)]),
        Piece::Anew => roster.begin_anew(),
        Piece::Ready => roster.take(JobEvent::Ready { seq: 1, life: String::new() }),
        Piece::Proxy(status, pid) => {
            let mut spec = JobSpec::new("proxyd");
            spec.envs.insert(crate::generation::ENV_MARK.into(), "1".into());
            roster.take(job("proxyd", spec, status, pid));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn piece_by_piece_is_as_good_as_all_at_once(pieces in prop::collection::vec(piece(), 0..60)) {
        let mut roster = Roster::default();
        for piece in pieces {
            let before = roster.observed();
            roster.take_touched();
            take(&mut roster, &piece);
            let after = roster.observed();
            let touched = roster.touched.clone();
            roster.see_all();
            let whole = roster.observed();
            prop_assert_eq!(&after.instances, &whole.instances, "{:?}", piece);
            prop_assert_eq!(&after.struggling, &whole.struggling);
            prop_assert_eq!(after.proxies.keys().collect::<Vec<_>>(), whole.proxies.keys().collect::<Vec<_>>());
            for id in before.instances.keys().chain(after.instances.keys()) {
                let is_new = before.instances.get(id) != after.instances.get(id);
                prop_assert!(!is_new || touched.has(&id.app), "{} after {:?}", id, piece);
            }
        }
    }
}
