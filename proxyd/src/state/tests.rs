//! The state under generated sequences, and what holds after each step.

use proptest::prelude::*;

use super::*;
use crate::h1::request::RequestHead;
use crate::origin::Peer;
use crate::service::Asker;

#[derive(Clone, Debug)]
enum Step {
    PutRoute(u8, u8),
    DeleteRoute(u8),
    PutFront(u8),
    PutTarget(u8, u8, u8),
    Retire(u8, u8),
    DeleteService(u8),
    /// A request for a host begins, seen through a picture as old as the second says.
    Claim(u8, u8, u64),
    /// One of the requests in flight ends.
    Release(usize),
    Forget,
}

fn step() -> impl Strategy<Value = Step> {
    let few = 0..3_u8;
    prop_oneof![
        (few.clone(), few.clone()).prop_map(|(h, s)| Step::PutRoute(h, s)),
        few.clone().prop_map(Step::DeleteRoute),
        few.clone().prop_map(Step::PutFront),
        (few.clone(), few.clone(), few.clone()).prop_map(|(s, t, a)| Step::PutTarget(s, t, a)),
        (few.clone(), few.clone()).prop_map(|(s, t)| Step::Retire(s, t)),
        few.clone().prop_map(Step::DeleteService),
        (few.clone(), few, any::<u64>()).prop_map(|(h, old, r)| Step::Claim(h, old, r)),
        any::<usize>().prop_map(Step::Release),
        Just(Step::Forget),
    ]
}

fn name(number: u8) -> Name {
    Name::parse(&format!("n{number}")).unwrap()
}

fn host(number: u8) -> String {
    format!("h{number}.example")
}

fn key(number: u8) -> Key {
    Key::parse(&host(number)).unwrap()
}

proptest! {
    #[test]
    fn holds_in_any_order(steps in proptest::collection::vec(step(), 1..200)) {
        let mut state = State::default();
        let mut pictures = vec![state.table()];
        let mut in_flight: Vec<Arc<Target>> = Vec::new();
        let mut retired: Vec<Arc<Target>> = Vec::new();
        for step in steps {
            let before = state.view();
            let changed = match step.clone() {
                Step::PutRoute(h, s) => {
                    let to = wire::Route::to(name(s).as_str());
                    state.put_route(Route::new(key(h), to).unwrap()).unwrap() != Put::Unchanged
                }
                Step::DeleteRoute(h) => state.delete_route(&key(h)),
                Step::PutFront(fields) => {
                    let fields = Some(u32::from(fields) + 1);
                    let wire = wire::Front { fields, ..wire::Front::default() };
                    let put = state.put_front(Front::new(wire.clone()).unwrap());
                    prop_assert_eq!(&state.table().front.wire, &wire);
                    put != Put::Unchanged
                }
                Step::PutTarget(s, t, a) => {
                    let wire = wire::Target::at(format!("tcp:127.0.0.1:{}", a + 1));
                    let address = Address::parse(&wire.address).unwrap();
                    let placed = |state: &State| {
                        let wanted = state.services.get(&name(s))?;
                        wanted.targets.get(&name(t)).map(|placed| Arc::clone(&placed.target))
                    };
                    let old = placed(&state);
                    let put = state.put_target(&name(s), &name(t), address, wire).unwrap();
                    if put == Put::Changed {
                        retired.extend(old);
                    }
                    put != Put::Unchanged
                }
                Step::Retire(s, t) => {
                    let wanted = state.services.get(&name(s));
                    let live = wanted.is_some_and(|wanted| wanted.targets.contains_key(&name(t)));
                    let target = state.retire(&name(s), &name(t), None);
                    // Who asks again is given the one that is draining, if there is one.
                    let again = retired.iter().chain(&in_flight).any(|t| target.as_ref().is_some_and(|target| t.number == target.number));
                    prop_assert!(live || target.is_none() || again);
                    prop_assert!(!live || target.is_some());
                    retired.extend(target);
                    live
                }
                Step::DeleteService(s) => {
                    let targets = state.delete_service(&name(s), None);
                    retired.extend(targets.clone().unwrap_or_default());
                    targets.is_some()
                }
                Step::Claim(h, old, random) => {
                    let picture = &pictures[pictures.len().saturating_sub(1 + usize::from(old))];
                    let found = picture.find(host(h).as_bytes(), b"/").ok().and_then(|at| picture.entry(at));
                    let asker = Asker {
                        client: &Peer::new(std::net::Ipv4Addr::LOCALHOST.into()),
                        head: b"",
                        request: &RequestHead::default(),
                        tried: &[],
                        called: false,
                    };
                    if let Some(service) = found.and_then(|found| found.service.as_ref())
                        && let Ok(held) = service.claim(&asker, random, &mut Vec::new()) {
                            let target = held.target;
                            prop_assert!(!target.is_retired());
                            prop_assert!(!retired.iter().any(|r| r.number == target.number));
                            in_flight.push(target);
                        }
                    false
                }
                Step::Release(which) => {
                    if !in_flight.is_empty() {
                        let target = in_flight.swap_remove(which % in_flight.len());
                        let drained = target.release();
                        prop_assert_eq!(drained, target.is_drained());
                    }
                    false
                }
                Step::Forget => {
                    state.forget_drained();
                    false
                }
            };
            let after = state.view();
            prop_assert_eq!(after.generation, before.generation + u64::from(changed));
            if changed {
                pictures.push(state.table());
                prop_assert_eq!(pictures.last().unwrap().version, state.version());
            } else {
                prop_assert_eq!(before.routes, after.routes);
            }
            for target in retired.iter().chain(&in_flight) {
                let count = in_flight.iter().filter(|t| t.number == target.number).count();
                prop_assert_eq!(target.in_flight(), count as u64);
                prop_assert_eq!(target.is_drained(), target.is_retired() && count == 0);
            }
            // Whatever is in flight is shown somewhere unless its name has a new bearer.
            let shown: u64 = after.services.values().flat_map(|s| s.targets.values()).map(|t| t.in_flight).sum();
            prop_assert!(shown <= in_flight.len() as u64);
        }
        in_flight.drain(..).for_each(|target| { target.release(); });
        state.forget_drained();
        prop_assert!(state.draining.is_empty());
    }

    #[test]
    fn never_below_zero(claims in 0..5_u32, releases in 0..10_u32) {
        let address = Address::parse("unix:/x").unwrap();
        let target = Target::new(1, String::new(), address, Arc::default());
        (0..claims).for_each(|_| prop_assert_claim(&target));
        target.retire(Duration::ZERO);
        let drained = (0..releases).filter(|_| target.release()).count();
        prop_assert_eq!(target.in_flight(), u64::from(claims.saturating_sub(releases)));
        prop_assert_eq!(drained, usize::from(claims > 0 && releases >= claims));
        prop_assert!(target.claim(u64::MAX).is_none());
    }
}

fn prop_assert_claim(target: &Target) {
    assert!(target.claim(u64::MAX).is_some());
}
