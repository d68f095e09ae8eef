//! Months and years of orders, with authorities, names and clocks that do as they please.

use proptest::prelude::*;

use super::*;

const CA: [&str; 2] = ["https://one.test/d", "https://other.test/d"];
const DAY: Time = schedule::DAY;
const START: Time = 1_800_000_000;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn domains(names: &[&str]) -> BTreeSet<Domain> {
    names.iter().map(|name| Domain::parse(name).unwrap()).collect()
}

fn wanted(authorities: &[&str], certificates: &[(&str, &[&str])]) -> Event {
    Event::Wanted {
        authorities: authorities.iter().map(ToString::to_string).collect(),
        certificates: certificates.iter().map(|(n, names)| (name(n), domains(names))).collect(),
        anew: false,
    }
}

fn held(covers: &BTreeSet<Domain>, authority: &str, from: Time, days: Time) -> Held {
    Held {
        covers: covers.clone(),
        not_before: from,
        not_after: from + days * DAY,
        fingerprint: from.to_string(),
        authority: authority.to_owned(),
    }
}

fn found(n: &str, held: Option<Held>, past: Option<Past>) -> Event {
    Event::Found { name: name(n), held, past }
}

/// A planner for one certificate, that may begin.
fn planner(names: &[&str]) -> Planner {
    let mut planner = Planner::new(7);
    planner.step(START, wanted(&CA, &[("a", names)]));
    planner.step(START, Event::Active(true));
    planner
}

fn check(effects: &[Effect]) -> Turn {
    let turn = effects.iter().find_map(|effect| match effect {
        Effect::Check { turn, .. } => Some(*turn),
        _ => None,
    });
    turn.unwrap_or_else(|| panic!("a look: {effects:?}"))
}

fn order(effects: &[Effect]) -> (Turn, String, BTreeSet<Domain>) {
    let found = effects.iter().find_map(|effect| match effect {
        Effect::Order { turn, authority, names, .. } => {
            Some((*turn, authority.clone(), names.clone()))
        }
        _ => None,
    });
    found.unwrap_or_else(|| panic!("an order: {effects:?}"))
}

fn checked(turn: Turn, blocked: &[&str]) -> Event {
    let failure = |domain: Domain| (domain.clone(), Failure::new(Cause::Dns, "none").of(domain));
    let blocked = domains(blocked).into_iter().map(failure).collect();
    Event::Checked { turn, name: name("a"), blocked, silent: false }
}

fn failed(turn: Turn, cause: Cause, retry_after: Option<Time>) -> Event {
    let failure = Failure { retry_after, ..Failure::new(cause, "no") };
    Event::Failed { turn, name: name("a"), failure }
}

/// Has one ordered from the first authority; what it was answered.
fn begin(planner: &mut Planner, now: Time) -> (Turn, String, BTreeSet<Domain>) {
    let turn = check(&planner.step(now, Event::Woken));
    order(&planner.step(now, checked(turn, &[])))
}

#[test]
fn nothing_begins_before_the_storage_was_read() {
    let mut planner = planner(&["a.test"]);
    assert_eq!(planner.next_deadline(), None);
    assert_eq!(planner.step(START, Event::Woken), []);
    let there = held(&domains(&["a.test"]), CA[0], START, 90);
    planner.step(START, found("a", Some(there), None));
    let renewal = planner.view(&name("a")).unwrap().renew_at.unwrap();
    assert!((60 * DAY..62 * DAY).contains(&(renewal - START)));
    // It asks when to renew, and waits for that otherwise.
    assert!(planner.next_deadline().unwrap() <= START + 3600);
}

#[test]
fn p12_backoff_is_1_10_100_minutes_then_daily_with_a_random_second() {
    let mut planner = planner(&["a.test"]);
    let mut now = START;
    planner.step(now, found("a", None, None));
    let mut first = true;
    for (tries, minutes) in [(1, 1), (2, 10), (3, 100), (4, 1440), (5, 1440)] {
        let turn = if first {
            let turn = planner.entries[&name("a")].turn().unwrap();
            first = false;
            turn
        } else {
            check(&planner.step(now, Event::Woken))
        };
        let (turn, _, _) = order(&planner.step(now, checked(turn, &[])));
        planner.step(now, failed(turn, Cause::Unreachable, None));
        let view = planner.view(&name("a")).unwrap();
        let wait = view.next_try.unwrap() - now;
        assert!((minutes * 60..minutes * 60 + 60).contains(&wait), "{tries}: {wait}");
        assert_eq!((view.failure.unwrap().tries, view.state), (tries, wire::AcmeState::Failed));
        assert_eq!(planner.step(now + wait - 1, Event::Woken), []);
        now += wait;
    }
}

#[test]
fn where_one_authority_fails_the_next_is_asked_at_once() {
    let mut planner = planner(&["a.test"]);
    planner.step(START, found("a", None, None));
    let turn = planner.entries[&name("a")].turn().unwrap();
    let (turn, first, _) = order(&planner.step(START, checked(turn, &[])));
    let (turn, second, _) = order(&planner.step(START, failed(turn, Cause::Authority, Some(7200))));
    assert_eq!((first.as_str(), second.as_str()), (CA[0], CA[1]));
    planner.step(START, failed(turn, Cause::RateLimit, Some(DAY)));
    // The first one has said how long it is closed, so it is not asked before.
    let next = planner.view(&name("a")).unwrap().next_try.unwrap();
    assert!(next - START >= 7200 && next - START < 7300, "{}", next - START);
    let (turn, again, _) = begin(&mut planner, next);
    assert_eq!(again, CA[0]);
    let effects = planner.step(next, failed(turn, Cause::Authority, None));
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Order { .. })), "{effects:?}");
}

#[test]
fn a_new_process_asks_no_sooner_than_the_authority_has_said() {
    let failure = Failure::new(Cause::RateLimit, "too many");
    for (at, next, asked) in [
        (START - 60, START + 6 * DAY, START + 6 * DAY),
        // Nobody has said so much, and what a wrong clock has written is good for a day.
        (START - 60, START + 60 * DAY, START + 7 * DAY + 60),
        (START + 300 * DAY, START + 306 * DAY, START + DAY + 60),
    ] {
        let past =
            Past { failure: failure.clone(), authority: CA[0].to_owned(), at, tries: 1, next };
        let mut planner = planner(&["a.test"]);
        assert_eq!(planner.step(START, found("a", None, Some(past))), []);
        assert_eq!(planner.next_deadline(), Some(asked));
    }
}

#[test]
fn what_is_ours_to_mend_is_asked_of_nobody_else() {
    let mut planner = planner(&["a.test"]);
    planner.step(START, found("a", None, None));
    let turn = planner.entries[&name("a")].turn().unwrap();
    let (turn, ..) = order(&planner.step(START, checked(turn, &[])));
    let effects = planner.step(START, failed(turn, Cause::Unauthorized, None));
    assert!(matches!(effects[..], [Effect::Remember { past: Some(_), .. }]), "{effects:?}");
}

#[test]
fn a_name_without_an_address_keeps_the_others_from_nothing() {
    let mut planner = planner(&["a.test", "www.a.test"]);
    planner.step(START, found("a", None, None));
    let turn = planner.entries[&name("a")].turn().unwrap();
    let (turn, from, names) = order(&planner.step(START, checked(turn, &["www.a.test"])));
    assert_eq!(names, domains(&["a.test"]));
    let issued = Event::Issued { turn, name: name("a"), held: held(&names, &from, START, 90) };
    planner.step(START, issued);
    let view = planner.view(&name("a")).unwrap();
    assert_eq!((view.state, view.covers.len(), view.blocked.len()), (wire::AcmeState::Valid, 1, 1));
    let mut now = view.next_try.unwrap();
    assert!(now - START <= 120);
    // It is looked for again and again, and nobody is asked for it.
    for _ in 0..20 {
        let turn = check(&planner.step(now, Event::Woken));
        assert_eq!(planner.step(now, checked(turn, &["www.a.test"])), []);
        let next = planner.view(&name("a")).unwrap().next_try.unwrap();
        assert!((60..=660).contains(&(next - now)));
        now = next;
    }
    let (_, _, names) = begin(&mut planner, now);
    assert_eq!(names.len(), 2);
}

#[test]
fn a_renewal_gives_no_name_up_at_once() {
    let mut planner = planner(&["a.test", "b.test"]);
    let there = held(&domains(&["a.test", "b.test"]), CA[0], START - 80 * DAY, 90);
    let effects = planner.step(START, found("a", Some(there), None));
    let (turn, _, names) = order(&planner.step(START, checked(check(&effects), &["b.test"])));
    assert_eq!(names.len(), 2, "the DNS may be away for a moment");
    planner.step(START, failed(turn, Cause::Dns, None));
    let mut now = START;
    for left in [2, 1] {
        now = planner.view(&name("a")).unwrap().next_try.unwrap();
        let turn = check(&planner.step(now, Event::Woken));
        let (turn, _, names) = order(&planner.step(now, checked(turn, &["b.test"])));
        assert_eq!(names.len(), left);
        planner.step(now, failed(turn, Cause::Dns, None));
    }
    assert!(now > START);
}

#[test]
fn what_the_authority_suggests_is_when_it_is_renewed() {
    let mut planner = planner(&["a.test"]);
    let there = held(&domains(&["a.test"]), CA[0], START, 90);
    planner.step(START, found("a", Some(there), None));
    let asks = planner.next_deadline().unwrap();
    let effects = planner.step(asks, Event::Woken);
    assert!(matches!(&effects[..], [Effect::AskWindow { authority, .. }] if authority == CA[0]));
    let suggested = |window, again| Event::Suggested { name: name("a"), window, again };
    let window = (START + 10 * DAY, START + 12 * DAY);
    planner.step(asks, suggested(Some(window), 6 * 3600));
    let renewal = planner.view(&name("a")).unwrap().renew_at.unwrap();
    assert!((window.0..window.1).contains(&renewal));
    assert_eq!(planner.next_deadline().unwrap(), asks + 6 * 3600);
    // The same again changes nothing.
    planner.step(asks + 6 * 3600, Event::Woken);
    planner.step(asks + 6 * 3600, suggested(Some(window), 0));
    assert_eq!(planner.view(&name("a")).unwrap().renew_at, Some(renewal));
    // It is to be revoked: now.
    let effects = planner.step(START + DAY, suggested(Some((START - DAY, START)), DAY));
    let turn = check(&effects);
    let effects = planner.step(START + DAY, checked(turn, &[]));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Order { replaces: true, .. })));
}

#[test]
fn an_authority_that_never_has_enough_is_not_followed_each_time() {
    let mut planner = planner(&["a.test"]);
    planner.step(START, found("a", None, None));
    let turn = planner.entries[&name("a")].turn().unwrap();
    let (mut turn, from, names) = order(&planner.step(START, checked(turn, &[])));
    let mut now = START;
    let mut waits = Vec::new();
    for _ in 0..6 {
        // It is past its time as soon as it is made, for whoever has a clock that is a year ahead.
        let past = held(&names, &from, now - 365 * DAY, 90);
        planner.step(now, Event::Issued { turn, name: name("a"), held: past });
        let begun = now;
        let window = Some((now - 2, now - 1));
        let mut effects =
            planner.step(now, Event::Suggested { name: name("a"), window, again: DAY });
        while !effects.iter().any(|effect| matches!(effect, Effect::Check { .. })) {
            if planner.entries[&name("a")].turn().is_some() {
                break;
            }
            now = planner.next_deadline().unwrap().max(now);
            effects = planner.step(now, Event::Woken);
        }
        waits.push((now - begun) / 60);
        let checking = planner.entries[&name("a")].turn().unwrap();
        (turn, _, _) = order(&planner.step(now, checked(checking, &[])));
    }
    assert_eq!(waits, [0, 1, 10, 100, 1440, 1440]);
}

#[test]
fn a_certificate_for_other_names_is_none() {
    let mut planner = planner(&["a.test", "b.test"]);
    planner.step(START, found("a", None, None));
    let turn = planner.entries[&name("a")].turn().unwrap();
    let (turn, from, _) = order(&planner.step(START, checked(turn, &[])));
    let less = held(&domains(&["a.test"]), &from, START, 90);
    let effects = planner.step(START, Event::Issued { turn, name: name("a"), held: less });
    assert_eq!(order(&effects).1, CA[1], "another authority may do better");
}

#[test]
fn of_what_was_begun_before_nothing_is_heard() {
    let mut planner = planner(&["a.test"]);
    planner.step(START, found("a", None, None));
    let old = planner.entries[&name("a")].turn().unwrap();
    let effects = planner.step(START, wanted(&CA, &[("a", &["b.test"])]));
    assert_eq!(effects[0], Effect::Abandon { turn: old });
    let new = check(&effects);
    assert_eq!(planner.step(START, checked(old, &[])), []);
    let (turn, from, names) = order(&planner.step(START, checked(new, &[])));
    assert_eq!(names, domains(&["b.test"]));
    let effects = planner.step(START, wanted(&CA, &[]));
    assert_eq!(effects, [Effect::Abandon { turn }]);
    let issued = Event::Issued { turn, name: name("a"), held: held(&names, &from, START, 90) };
    assert_eq!(planner.step(START, issued), []);
    assert_eq!(planner.next_deadline(), None);
}

#[test]
fn tries_are_remembered_and_somebody_may_not_want_to_wait() {
    let mut planner = planner(&["a.test"]);
    let failure = Failure::new(Cause::Dns, "none");
    let past = Past {
        failure,
        authority: CA[0].to_owned(),
        at: START - 60,
        tries: 4,
        next: START + DAY / 2,
    };
    assert_eq!(planner.step(START, found("a", None, Some(past))), []);
    assert_eq!(planner.next_deadline(), Some(START + DAY / 2));
    let turn = check(&planner.step(START, Event::Asked { name: name("a") }));
    let (turn, ..) = order(&planner.step(START, checked(turn, &[])));
    planner.step(START, failed(turn, Cause::Dns, None));
    assert_eq!(planner.view(&name("a")).unwrap().failure.unwrap().tries, 5);
    // Whoever obtains has had success, which those who look on learn from the storage.
    planner.step(START, Event::Active(false));
    planner.step(START, found("a", Some(held(&domains(&["a.test"]), CA[0], START, 90)), None));
    let view = planner.view(&name("a")).unwrap();
    assert_eq!((view.failure, view.next_try), (None, None));
}

#[test]
fn other_settings_are_a_reason_to_try_at_once() {
    let mut planner = planner(&["a.test"]);
    planner.step(START, found("a", None, None));
    let turn = planner.entries[&name("a")].turn().unwrap();
    let (turn, ..) = order(&planner.step(START, checked(turn, &[])));
    planner.step(START, failed(turn, Cause::Unauthorized, None));
    let same = |anew| Event::Wanted {
        authorities: CA.map(str::to_owned).to_vec(),
        certificates: [(name("a"), domains(&["a.test"]))].into(),
        anew,
    };
    assert_eq!(planner.step(START, same(false)), []);
    check(&planner.step(START, same(true)));
}

#[test]
fn no_more_at_a_time_than_there_is_room_for() {
    let names: Vec<String> = (0..50).map(|number| format!("c{number}")).collect();
    let certificates: Vec<(&str, &[&str])> =
        names.iter().map(|name| (name.as_str(), &["a.test"][..])).collect();
    let mut planner = Planner::new(1);
    planner.step(START, wanted(&CA, &certificates));
    planner.step(START, Event::Active(true));
    let mut begun = 0;
    for name in &names {
        begun += planner.step(START, found(name, None, None)).len();
    }
    assert_eq!(begun, limits::ACME_ORDERS);
    assert_eq!(planner.next_deadline(), None, "whoever is done says so");
}

/// What the world does when it is asked.
#[derive(Clone, Copy, Debug)]
enum World {
    Issues { days: Time },
    Fails(Cause, Option<Time>),
    Blocks,
    SetsTheClock(Time),
    Restarts,
    Suggests(Time),
    Forgets,
}

fn world() -> impl Strategy<Value = World> {
    let cause = prop::sample::select(vec![
        Cause::Dns,
        Cause::RateLimit,
        Cause::Authority,
        Cause::Unauthorized,
        Cause::Other,
    ]);
    prop_oneof![
        6 => (1..100_i64).prop_map(|days| World::Issues { days }),
        4 => (cause, prop::option::of(0..3 * DAY)).prop_map(|(cause, after)| World::Fails(cause, after)),
        1 => Just(World::Blocks),
        1 => (-3 * DAY..3 * DAY).prop_map(World::SetsTheClock),
        1 => Just(World::Restarts),
        1 => (0..30 * DAY).prop_map(World::Suggests),
        1 => Just(World::Forgets),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// However it goes, there is always a next step; nobody is asked too often; and where nothing fails any
    /// more, there is a certificate again.
    #[test]
    fn it_always_goes_on(worlds in proptest::collection::vec(world(), 1..60), seed: u64) {
        let names = domains(&["a.test", "b.test"]);
        let mut planner = Planner::new(seed);
        let mut now = START;
        let (mut stored, mut past): (Option<Held>, Option<Past>) = (None, None);
        let mut effects = planner.step(now, wanted(&CA, &[("a", &["a.test", "b.test"])]));
        effects.extend(planner.step(now, Event::Active(true)));
        effects.extend(planner.step(now, found("a", None, None)));
        let mut worlds = worlds.into_iter();
        let (mut orders_in_a_row, mut calm) = (0, 0);
        while calm < 4 {
            let Some(effect) = effects.pop() else {
                let next = planner.next_deadline();
                prop_assert!(next.is_some(), "something is always to be done");
                // Beyond a renewal nothing is waited for longer than two days.
                let view = planner.view(&name("a")).unwrap();
                if view.state != wire::AcmeState::Valid {
                    prop_assert!(next.unwrap() - now <= 8 * DAY, "{:?}", view);
                }
                now = now.max(next.unwrap());
                orders_in_a_row = 0;
                effects = planner.step(now, Event::Woken);
                prop_assert!(!effects.is_empty(), "{:?} at {now}", planner.entries);
                continue;
            };
            let event = match effect {
                Effect::Check { turn, .. } => {
                    prop_assert!(planner.under_way() <= 1);
                    checked(turn, &[])
                }
                Effect::Order { turn, authority, names: ordered, .. } => {
                    orders_in_a_row += 1;
                    prop_assert!(orders_in_a_row <= CA.len() + 1, "nobody is asked twice at once");
                    prop_assert!(ordered.is_subset(&names) && !ordered.is_empty());
                    let world = worlds.next();
                    calm += usize::from(world.is_none());
                    match world {
                        None | Some(World::Issues { .. }) => {
                            let days = match world { Some(World::Issues { days }) => days, _ => 90 };
                            stored = Some(held(&ordered, &authority, now, days));
                            Event::Issued { turn, name: name("a"), held: stored.clone().unwrap() }
                        }
                        Some(World::Fails(cause, after)) => failed(turn, cause, after),
                        Some(World::Blocks | World::Forgets) => {
                            Event::Failed { turn, name: name("a"), failure: Failure::new(Cause::Dns, "") }
                        }
                        Some(World::SetsTheClock(by)) => {
                            now += by;
                            failed(turn, Cause::Authority, None)
                        }
                        Some(World::Suggests(at)) => {
                            effects.extend(planner.step(now, failed(turn, Cause::Other, None)));
                            let window = Some((now + at, now + at + DAY));
                            Event::Suggested { name: name("a"), window, again: at }
                        }
                        Some(World::Restarts) => {
                            planner = Planner::new(seed ^ 5);
                            planner.step(now, wanted(&CA, &[("a", &["a.test", "b.test"])]));
                            effects = planner.step(now, Event::Active(true));
                            orders_in_a_row = 0;
                            found("a", stored.clone(), past.clone())
                        }
                    }
                }
                Effect::AskWindow { .. } => {
                    Event::Suggested { name: name("a"), window: None, again: 6 * 3600 }
                }
                Effect::Remember { past: new, .. } => {
                    past = new;
                    continue;
                }
                Effect::Abandon { .. } => continue,
            };
            effects.extend(planner.step(now, event));
        }
        let view = planner.view(&name("a")).unwrap();
        prop_assert_eq!(view.state, wire::AcmeState::Valid);
        prop_assert!(view.failure.is_none());
        prop_assert_eq!(planner.entries.len(), 1);
        prop_assert!(planner.entries[&name("a")].deferred.len() <= CA.len());
    }
}

/// Five years of twenty certificates for 90 days, each renewed in time and not more often than it has to be.
#[test]
fn years_of_renewals_in_flat_memory() {
    let names: Vec<String> = (0..20).map(|number| format!("c{number}")).collect();
    let certificates: Vec<(&str, &[&str])> =
        names.iter().map(|name| (name.as_str(), &["a.test"][..])).collect();
    let mut planner = Planner::new(1);
    let mut now = START;
    planner.step(now, wanted(&CA[..1], &certificates));
    for name in &names {
        let there = held(&domains(&["a.test"]), CA[0], now, 90);
        planner.step(now, found(name, Some(there), None));
    }
    let mut effects = planner.step(now, Event::Active(true));
    let (mut issued, mut widest) = (0, 0);
    while now < START + 5 * 365 * DAY {
        let Some(effect) = effects.pop() else {
            now = planner.next_deadline().unwrap().max(now);
            effects = planner.step(now, Event::Woken);
            continue;
        };
        widest = widest.max(effects.len());
        let event = match effect {
            Effect::Check { turn, name, .. } => {
                Event::Checked { turn, name, blocked: BTreeMap::new(), silent: false }
            }
            Effect::Order { turn, name, names, authority, .. } => {
                let view = planner.view(&name).unwrap();
                assert!(view.not_after.unwrap() - now > 25 * DAY, "in time");
                issued += 1;
                Event::Issued { turn, name, held: held(&names, &authority, now, 90) }
            }
            Effect::AskWindow { name, .. } => {
                Event::Suggested { name, window: None, again: Time::MAX }
            }
            Effect::Remember { .. } | Effect::Abandon { .. } => continue,
        };
        effects.extend(planner.step(now, event));
    }
    let each = 5 * 365 / 60;
    assert!((each - 1..=each).contains(&(issued / 20)), "{issued}");
    assert!(widest <= 60 && planner.entries.len() == 20);
}
