//! Generated histories, and a few told ones.

use proptest::prelude::*;

use super::world::{FIRST_PORT, FOREIGN_PORT, Fate, Happening, World};
use super::*;
use crate::app::sample;

fn happening() -> impl Strategy<Value = Happening> {
    let n = 0..8_usize;
    prop_oneof![
        8 => n.clone().prop_map(Happening::Done),
        8 => (n.clone(), prop::bool::weighted(0.8)).prop_map(|(n, r)| Happening::Probed(n, r)),
        2 => (n.clone(), prop::bool::weighted(0.7)).prop_map(|(n, a)| Happening::Crash(n, a)),
        2 => n.clone().prop_map(Happening::Change),
        1 => (n.clone(), fate()).prop_map(|(n, fate)| Happening::Build(n, fate)),
        1 => n.clone().prop_map(Happening::Again),
        1 => n.clone().prop_map(Happening::Heard),
        1 => Just(Happening::Wait),
        1 => (n.clone(), 0..5_u32).prop_map(|(n, count)| Happening::Scale(n, count)),
        1 => n.clone().prop_map(Happening::Restart),
        1 => (n.clone(), any::<bool>()).prop_map(|(n, runs)| Happening::Stop(n, runs)),
        1 => (n.clone(), any::<bool>()).prop_map(|(n, breaks)| Happening::Break(n, breaks)),
        1 => n.clone().prop_map(Happening::Remove),
        2 => any::<(bool, bool)>().prop_map(|(after, requires)| Happening::Name(after, requires)),
        1 => (n.clone(), kind()).prop_map(|(n, kind)| Happening::Move(n, kind)),
        2 => (n.clone(), 0..4_u32).prop_map(|(n, kind)| Happening::Site(n, kind)),
        1 => (0..5_u32).prop_map(Happening::Tls),
        1 => n.clone().prop_map(Happening::ProxyCrash),
        1 => n.clone().prop_map(Happening::ProxyEnd),
        4 => n.clone().prop_map(Happening::ProxyTells),
        1 => prop::bool::weighted(0.7).prop_map(Happening::ProxyChange),
        1 => Just(Happening::ProxyRestart),
        1 => Just(Happening::Forget),
    ]
}

fn kind() -> impl Strategy<Value = PlaceKind> {
    prop_oneof![
        Just(PlaceKind::Port),
        Just(PlaceKind::Unix),
        Just(PlaceKind::Fd),
        Just(PlaceKind::Nowhere)
    ]
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![3 => Just(Fate::Well), 4 => bad_fate()]
}

fn bad_fate() -> impl Strategy<Value = Fate> {
    prop::sample::select(vec![Fate::Never, Fate::Ends, Fate::Dies, Fate::Refused])
}

/// What may happen while the first app is rolled.
fn meanwhile() -> impl Strategy<Value = Happening> {
    let n = 0..8_usize;
    prop_oneof![
        6 => n.clone().prop_map(Happening::Done),
        2 => n.clone().prop_map(Happening::Heard),
        2 => n.clone().prop_map(Happening::ProxyTells),
        2 => Just(Happening::Wait),
        1 => Just(Happening::Forget),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_it_comes_to_rest_as_wanted(
        happenings in prop::collection::vec(happening(), 0..80)
    ) {
        let mut world = World::new();
        world.narrows = true;
        for happening in happenings {
            world.happen(happening);
            world.act();
        }
        world.settle();
        world.check_converged();
        prop_assert_eq!(world.act(), 0, "at rest nothing is done");
    }

    #[test]
    fn o05_what_fails_is_given_up_and_nothing_that_serves_is_touched(
        (fate, by_restart) in (bad_fate(), any::<bool>()),
        happenings in prop::collection::vec(meanwhile(), 0..40)
    ) {
        let ask = if by_restart { Happening::Restart(0) } else { Happening::Change(0) };
        let mut world = World::new();
        world.settle();
        let before = world.serving(0);
        world.happen(Happening::Build(0, fate));
        world.happen(ask);
        for happening in happenings {
            world.happen(happening);
            world.act();
            let now: Vec<_> = world.instances().into_iter().map(|(id, _)| id).collect();
            let there = |(id, _): &(InstanceId, _)| now.contains(&id.to_string());
            prop_assert!(before.iter().all(there), "{:?} of {:?}", now, before);
        }
        world.settle();
        prop_assert!(world.is_noted(0));
        prop_assert_eq!(world.serving(0), before.clone());
        world.happen(Happening::Build(0, Fate::Well));
        world.settle();
        prop_assert_eq!(world.serving(0), before.clone(), "nobody has asked again");
        world.happen(if by_restart { Happening::Restart(0) } else { Happening::Again(0) });
        world.settle();
        world.check_converged();
        let after = world.serving(0);
        prop_assert_eq!(after.len(), before.len());
        prop_assert!(after.iter().all(|one| !before.contains(one)), "{:?}", after);
    }

    #[test]
    fn o15_a_bootctl_that_starts_anew_does_nothing(
        happenings in prop::collection::vec(happening(), 0..40)
    ) {
        let mut world = World::new();
        for happening in happenings {
            world.happen(happening);
            world.act();
        }
        world.settle();
        // What init has refused it is asked for again.
        prop_assume!(!world.is_refused());
        let before = world.instances();
        world.happen(Happening::Forget);
        let done = world.act();
        // Of two that never get ready one is given up, whichever was started anew.
        prop_assert!(done == 0 || world.is_proxy_bad(), "nothing is done before it is known");
        world.settle();
        prop_assert_eq!(world.instances(), before);
    }
}

fn desired(app: App) -> Desired {
    Desired {
        apps: BTreeMap::from([(app.name.clone(), Wanted::Running(Order::new(app)))]).into(),
        proxy: None,
        collector: None,
        first_port: Port::new(FIRST_PORT),
        ..Desired::default()
    }
}

fn observed(app: &App, lives: &[(u32, Life)]) -> Observed {
    let port = |number: u32| {
        let offset = u16::try_from(number).expect("small");
        Port::new(FIRST_PORT + offset).expect("not 0")
    };
    let seen = |(number, life): &(u32, Life)| {
        let id = InstanceId::new(app.name.clone(), *number);
        let place = Place::Port(port(*number));
        let spec = Order::new(app.clone()).job(*number, &place).into();
        (id, Seen { place, spec, life: *life, restarts: 0 })
    };
    Observed { instances: lives.iter().map(seen).collect(), ..Observed::default() }
}

fn told(actions: &[Action]) -> Vec<String> {
    let tell = |action: &Action| match action {
        Action::Start { id, place, .. } => format!("start {id} on {place}"),
        Action::Retire { id } => format!("retire {id}"),
        Action::StartProxy { generation, .. } => format!("start {generation}"),
        Action::StopProxy { generation } => format!("stop {generation}"),
        Action::Push { generation, push: Push::Open } => format!("open {generation}"),
        other @ (Action::Push { .. }
        | Action::Unplaced { .. }
        | Action::StartCollector { .. }
        | Action::StopCollector) => {
            format!("{other:?}")
        }
    };
    actions.iter().map(tell).collect()
}

const READY: Life = Life::Running(Health::Ready);

#[test]
fn instances_get_the_lowest_free_numbers_and_ports() {
    let app = sample("a", 3);
    let observed = observed(&app, &[(2, READY)]);
    let free = |port: Port| port.number() != FOREIGN_PORT;
    let actions = plan(&desired(app), &observed, free);
    assert_eq!(told(&actions), ["start a.1 on 9000", "start a.3 on 9003"]);
}

#[test]
fn a_change_is_rolled_one_by_one() {
    let old = sample("a", 2);
    let new = App { args: vec!["new".into()], ..old.clone() };
    let mut seen = observed(&old, &[(1, READY), (2, READY)]);
    let wanted = desired(new.clone());
    assert_eq!(told(&plan(&wanted, &seen, |_| true)), ["start a.3 on 9000"]);

    let place = Place::Port(Port::new(FIRST_PORT).expect("not 0"));
    let spec = Order::new(new.clone()).job(3, &place).into();
    let mut third = Seen { place, spec, life: Life::Coming, restarts: 0 };
    seen.instances.insert(InstanceId::new(new.name.clone(), 3), third.clone());
    assert_eq!(told(&plan(&wanted, &seen, |_| true)), [""; 0], "nothing goes before it is ready");

    third.life = READY;
    seen.instances.insert(InstanceId::new(new.name.clone(), 3), third);
    assert_eq!(told(&plan(&wanted, &seen, |_| true)), ["retire a.2"]);
}

#[test]
fn scaling_down_takes_the_highest_numbers_that_can_be_missed() {
    let app = sample("a", 1);
    let all = observed(&app, &[(1, READY), (2, READY), (3, READY)]);
    assert_eq!(told(&plan(&desired(app.clone()), &all, |_| true)), ["retire a.3", "retire a.2"]);
    let first_is_down =
        observed(&app, &[(1, Life::Running(Health::Unready)), (2, READY), (3, READY)]);
    assert_eq!(told(&plan(&desired(app), &first_is_down, |_| true)), ["retire a.3", "retire a.1"]);
}

#[test]
fn one_that_has_ended_is_not_started_again_by_itself() {
    let app = sample("a", 2);
    let seen = observed(&app, &[(1, Life::Ended), (2, READY)]);
    assert_eq!(told(&plan(&desired(app.clone()), &seen, |_| true)), [""; 0]);
    let changed = App { args: vec!["new".into()], ..app };
    let actions = plan(&desired(changed), &seen, |_| true);
    assert_eq!(told(&actions), ["retire a.1", "start a.3 on 9000", "start a.4 on 9003"]);
}

/// What is done about apps that each name the one before, with the first one in this life.
fn chain(
    links: &[&str],
    first: Option<Life>,
    key: fn(&mut App) -> &mut Vec<AppName>,
) -> Vec<String> {
    let mut before: Option<AppName> = None;
    let mut wanted = Desired { first_port: Port::new(FIRST_PORT), ..Desired::default() };
    let mut seen = Observed::default();
    for name in links {
        let mut app = sample(name, 1);
        match &before {
            Some(before) => key(&mut app).push(before.clone()),
            None => seen = first.map(|life| observed(&app, &[(1, life)])).unwrap_or_default(),
        }
        before = Some(app.name.clone());
        wanted.apps.insert(app.name.clone(), Wanted::Running(Order::new(app)));
    }
    told(&plan(&wanted, &seen, |_| true))
}

#[test]
fn i14_first_instances_wait_for_those_that_are_named() {
    let after: fn(&mut App) -> &mut Vec<AppName> = |app| &mut app.after;
    let requires: fn(&mut App) -> &mut Vec<AppName> = |app| &mut app.requires;
    for key in [after, requires] {
        assert_eq!(chain(&["a", "b", "c"], None, key), ["start a.1 on 9000"]);
        for life in [Life::Asked, Life::Coming, Life::Running(Health::Unready)] {
            assert_eq!(chain(&["a", "b"], Some(life), key), [""; 0], "{life:?}");
        }
        assert_eq!(chain(&["a", "b", "c"], Some(READY), key), ["start b.1 on 9000"]);
    }
    assert_eq!(chain(&["a", "b"], Some(Life::Ended), after), ["start b.1 on 9000"]);
    assert_eq!(chain(&["a", "b"], Some(Life::Ended), requires), [""; 0]);
}

#[test]
fn i14_what_runs_waits_for_nobody() {
    let first = sample("a", 1);
    let mut second = sample("b", 2);
    second.requires.push(first.name.clone());
    let mut seen = observed(&second, &[(1, Life::Coming)]);
    let mut wanted = desired(second);
    wanted.apps.insert(first.name.clone(), Wanted::Stopped(first.into()));
    assert_eq!(told(&plan(&wanted, &seen, |_| true)), ["start b.2 on 9000"]);
    seen.instances.clear();
    assert_eq!(told(&plan(&wanted, &seen, |_| true)), [""; 0]);
    let mut waits = BTreeMap::new();
    see_waiting(&mut waits, &wanted, &seen, &Touched::All);
    let waits: Vec<_> = waits.values().map(|waiting| waiting.hopeless).collect();
    assert_eq!(waits, [Some("is stopped")]);
}

#[test]
fn i14_who_is_named_ends_last() {
    let lives = |name: &str| observed(&sample(name, 1), &[(1, READY)]).instances;
    let mut seen = Observed::default();
    for name in ["a", "b", "c", "d"] {
        seen.instances.extend(lives(name));
    }
    let app = |name: &str| AppName::parse(name).expect("a name");
    // c names b, which names a; d names nobody.
    let precedence = [("b", "a"), ("c", "b")];
    let precedence = precedence.map(|(from, to)| (app(from), BTreeSet::from([app(to)])));
    let ending = Desired { precedence: precedence.into(), ..Desired::default() };
    assert_eq!(told(&plan(&ending, &seen, |_| true)), ["retire d.1", "retire c.1"]);
    seen.instances.retain(|id, _| id.app == app("a") || id.app == app("c"));
    assert_eq!(told(&plan(&ending, &seen, |_| true)), ["retire c.1"], "also when b is not there");
    seen.instances.values_mut().for_each(|seen| seen.life = Life::Leaving);
    assert_eq!(told(&plan(&ending, &seen, |_| true)), [""; 0]);
    seen = Observed { instances: lives("a"), ..Observed::default() };
    assert_eq!(told(&plan(&ending, &seen, |_| true)), ["retire a.1"]);
}

#[test]
fn the_proxy_goes_after_the_last_app() {
    let app = sample("a", 1);
    let mut seen = observed(&app, &[(1, READY)]);
    seen.proxies = generations(&[(1, "x", SERVES)]);
    let nothing = Desired::default();
    assert_eq!(told(&plan(&nothing, &seen, |_| true)), ["retire a.1"]);
    seen.instances.clear();
    assert_eq!(told(&plan(&nothing, &seen, |_| true)), ["stop proxyd"]);
}

/// How a generation is: whether it runs, and whether it lets clients in, if that is known.
type Stand = (ProxyLife, Option<bool>);

const SERVES: Stand = (ProxyLife::Running, Some(true));
const CLOSED: Stand = (ProxyLife::Running, Some(false));
const SILENT: Stand = (ProxyLife::Running, None);
const COMING: Stand = (ProxyLife::Coming, Some(false));
const LEAVING: Stand = (ProxyLife::Leaving, Some(true));
const ENDED: Stand = (ProxyLife::Ended, Some(false));

fn wanted_proxy(arg: &str) -> WantedProxy {
    let mut wanted = crate::generation::sample();
    wanted.spec.args = vec![arg.into()];
    wanted
}

fn generations(all: &[(u32, &str, Stand)]) -> BTreeMap<Generation, SeenProxy> {
    let seen = |(number, arg, (life, serving)): &(u32, &str, Stand)| {
        let generation = (1..*number).fold(Generation::FIRST, |generation, _| generation.next());
        let table = match (life, serving) {
            (ProxyLife::Running | ProxyLife::Leaving, Some(serving)) => {
                Proxy::Known(Table { serving: *serving, ..Table::default() }.into())
            }
            (ProxyLife::Running, None) => Proxy::Unknown,
            _ => Proxy::Down,
        };
        let spec = wanted_proxy(arg).job(generation).into();
        (generation, SeenProxy { spec, life: *life, table })
    };
    all.iter().map(seen).collect()
}

#[test]
fn p02_at_most_two_generations_and_one_that_serves_until_another_does() {
    for (there, actions) in [
        (&[][..], &["start proxyd"][..]),
        (&[(1, "new", SILENT)], &[]),
        (&[(1, "new", CLOSED)], &["open proxyd"]),
        (&[(1, "new", SERVES)], &[]),
        (&[(1, "old", SERVES)], &["start proxyd.2"]),
        (&[(1, "old", SERVES), (2, "new", SILENT)], &[]),
        (&[(1, "old", SERVES), (2, "new", COMING)], &[]),
        (&[(1, "old", SERVES), (2, "new", CLOSED)], &["open proxyd.2"]),
        (&[(1, "old", SERVES), (2, "new", SERVES)], &["stop proxyd"]),
        (&[(1, "old", SILENT), (2, "new", SERVES)], &["stop proxyd"]),
        (&[(1, "old", LEAVING), (2, "new", SERVES)], &[]),
        // The new one died after the old one was told to go.
        (&[(1, "old", LEAVING), (2, "new", CLOSED)], &["open proxyd.2"]),
        (&[(1, "old", LEAVING), (2, "older", SERVES)], &[]),
        // One that never gets ready is in the way of the next.
        (&[(1, "old", SERVES), (2, "bad", COMING)], &["stop proxyd.2"]),
        (&[(1, "old", COMING), (2, "bad", COMING)], &["stop proxyd.2"]),
        (&[(1, "old", SILENT), (2, "bad", COMING)], &[]),
        (&[(1, "old", SERVES), (2, "bad", SILENT)], &["stop proxyd.2"]),
        (&[(1, "old", SERVES), (2, "bad", ENDED)], &["stop proxyd.2", "start proxyd.3"]),
        (&[(3, "new", ENDED)], &["stop proxyd.3", "start proxyd.4"]),
        // A restart that bootctl has forgotten.
        (&[(1, "new", SERVES), (2, "new", SERVES)], &["stop proxyd"]),
        (&[(1, "new", SERVES), (2, "new", COMING)], &["stop proxyd.2"]),
    ] {
        let proxy = Some(wanted_proxy("new"));
        let desired = Desired { proxy, ..Desired::default() };
        let seen = Observed { proxies: generations(there), ..Observed::default() };
        assert_eq!(told(&plan(&desired, &seen, |_| true)), actions, "{there:?}");
    }
}

#[test]
fn a_foreign_job_is_left_alone() {
    let desired = Desired { proxy: Some(wanted_proxy("new")), ..Desired::default() };
    let mut seen = Observed { proxy_refused: true, ..Observed::default() };
    assert_eq!(told(&plan(&desired, &seen, |_| true)), [""; 0]);
    seen.proxy_refused = false;
    seen.foreign_proxies.insert(Generation::FIRST.next());
    assert_eq!(told(&plan(&desired, &seen, |_| true)), ["start proxyd.3"]);
}

#[test]
fn o10_only_what_is_otherwise_is_told() {
    let mut app = sample("a", 1);
    app.site.redirects.push(crate::name::Host::parse("old.a").expect("a host"));
    app.site.max_in_flight = Some(5);
    let mut seen = observed(&app, &[(1, READY)]);
    let mut wanted = desired(app.clone());
    wanted.proxy = Some(wanted_proxy("new"));
    wanted.front.real_ip = true;
    let told = |wanted: &Desired, seen: &Observed| {
        let of = |action: Action| match action {
            Action::Push { push, .. } => push,
            other => panic!("{other:?}"),
        };
        plan(wanted, seen, |_| true).into_iter().map(of).collect::<Vec<_>>()
    };
    seen.proxies = generations(&[(1, "new", SERVES)]);
    let all = told(&wanted, &seen);
    assert_eq!(all.len(), 4, "the front, two routes, a target: {all:?}");
    let Some(SeenProxy { table: Proxy::Known(table), .. }) =
        seen.proxies.get_mut(&Generation::FIRST)
    else {
        panic!("it has a table")
    };
    for push in all {
        Rc::make_mut(table).apply(push);
    }
    assert_eq!(told(&wanted, &seen), []);
    app.site.service.queue = 7;
    wanted.apps.insert(app.name.clone(), Wanted::Running(Order::new(app)));
    let changed = told(&wanted, &seen);
    assert!(matches!(changed.as_slice(), [Push::Service { .. }]), "{changed:?}");
}

#[test]
fn o10_a_broken_file_changes_nothing_that_the_proxy_was_told() {
    let mut app = sample("a", 1);
    app.site.redirects.push(crate::name::Host::parse("old.a").expect("a host"));
    app.site.mounts.push("b/a".into());
    app.site.max_in_flight = Some(5);
    app.site.service.queue = 7;
    app.site.maintenance = Some(proxyd_wire::Maintenance::default());
    let mut seen = observed(&app, &[(1, READY)]);
    let mut wanted = desired(app.clone());
    wanted.proxy = Some(wanted_proxy("new"));
    seen.proxies = generations(&[(1, "new", SERVES)]);
    let mut table = Table { serving: true, ..Table::default() };
    let known = |table: &Table| Proxy::Known(table.clone().into());
    for action in plan(&wanted, &seen, |_| true) {
        if let Action::Push { push, .. } = action {
            table.apply(push);
        }
    }
    wanted.apps.insert(app.name.clone(), Wanted::AsItIs);
    seen.proxies.get_mut(&Generation::FIRST).expect("there").table = known(&table);
    assert_eq!(told(&plan(&wanted, &seen, |_| true)), [""; 0]);
    // The next generation is told the same.
    let next = Generation::FIRST.next();
    let spec = wanted_proxy("new").job(next).into();
    let empty = known(&Table::default());
    seen.proxies.insert(next, SeenProxy { spec, life: ProxyLife::Running, table: empty });
    let mut second = Table::default();
    for action in plan(&wanted, &seen, |_| true) {
        if let Action::Push { push, generation } = action {
            assert_eq!(generation, next);
            second.apply(push);
        }
    }
    // But for how many requests an instance gets at once, which is its own.
    let address =
        |table: &Table| table.targets.values().next().map(|target| target.address.clone());
    assert_eq!(address(&second), address(&table));
    second.targets.clone_from(&table.targets);
    second.services.retain(|_, settings| *settings != proxyd_wire::Service::default());
    assert_eq!(second, table);
}

#[test]
fn i15_a_preview_counts_as_the_plan_does() {
    let old = sample("a", 3);
    let new = App { args: vec!["new".into()], instances: 4, ..old.clone() };
    let mut seen = observed(&old, &[(1, READY), (2, READY), (3, READY)]);
    let told = |wanted: &Desired, seen: &Observed| {
        let Preview { replaced, retired, started, takes_over, .. } = preview(wanted, seen);
        let names = |all: Vec<InstanceId>| {
            all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        (names(replaced), names(retired), started.values().sum::<usize>(), takes_over)
    };
    let nothing = (String::new(), String::new(), 0, false);
    assert_eq!(told(&desired(old.clone()), &seen), nothing);
    assert_eq!(told(&desired(new.clone()), &seen), ("a.1 a.2 a.3".into(), String::new(), 1, false));
    let fewer = App { instances: 1, ..new };
    assert_eq!(told(&desired(fewer), &seen), ("a.1".into(), "a.2 a.3".into(), 0, false));
    let scaled = App { instances: 2, ..old.clone() };
    assert_eq!(told(&desired(scaled), &seen), (String::new(), "a.3".into(), 0, false));
    assert_eq!(told(&Desired::default(), &seen).1, "a.1 a.2 a.3");
    let mut wanted = desired(old);
    wanted.proxy = Some(wanted_proxy("new"));
    seen.proxies = generations(&[(1, "old", SERVES)]);
    assert!(told(&wanted, &seen).3, "another proxy is wanted");
    assert_eq!(preview(&wanted, &seen).pushes.len(), 1, "the route: {:?}", preview(&wanted, &seen));
}

#[test]
fn p04_an_instance_serves_when_every_generation_has_it() {
    let app = sample("a", 1);
    let mut seen = observed(&app, &[(1, READY)]);
    let (id, instance) = seen.instances.clone().pop_first().expect("there is one");
    let mut judge = |all: &[(u32, &str, Stand)], with: &[Generation]| {
        seen.proxies = generations(all);
        for generation in with {
            let Some(SeenProxy { table: Proxy::Known(table), .. }) =
                seen.proxies.get_mut(generation)
            else {
                panic!("it has a table")
            };
            let target = proxyd_wire::Target::at(instance.place.address());
            Rc::make_mut(table).targets.insert(key(&id), target);
        }
        serves(&id, &instance, &seen)
    };
    let (first, second) = (Generation::FIRST, Generation::FIRST.next());
    assert!(judge(&[], &[]), "nobody sends requests");
    assert!(judge(&[(1, "x", SERVES)], &[first]));
    assert!(!judge(&[(1, "x", SERVES)], &[]));
    assert!(!judge(&[(1, "x", LEAVING), (2, "x", SERVES)], &[second]), "the old one asks it, too");
    assert!(judge(&[(1, "x", LEAVING), (2, "x", SERVES)], &[first, second]));
    assert!(!judge(&[(1, "x", SERVES), (2, "x", CLOSED)], &[first]), "it may open at any time");
    assert!(!judge(&[(1, "x", CLOSED)], &[]));
    assert!(!judge(&[(1, "x", SERVES), (2, "x", SILENT)], &[first]));
}

#[test]
fn i14_one_that_is_refused_is_not_waited_for_also_by_a_bootctl_that_starts_anew() {
    let mut world = World::new();
    for happening in [
        Happening::Build(2, Fate::Refused),
        Happening::Name(false, true),
        Happening::Forget,
        Happening::Name(true, false),
    ] {
        world.happen(happening);
        world.act();
    }
    world.settle();
    world.check_converged();
    assert_eq!(world.act(), 0, "at rest nothing is done");
}

#[test]
fn o05_what_is_held_is_scaled_all_the_same() {
    use Happening::{Build, Change, Crash, Done, Move, ProxyTells, Scale};
    let mut world = World::new();
    world.narrows = true;
    let begin = [Done(0), Change(2), Move(1, PlaceKind::Unix), Done(0), Done(0), Done(0), Done(2)];
    let rest =
        [ProxyTells(0), Done(0), Done(1), Build(1, Fate::Never), Crash(3, false), Scale(5, 1)];
    for happening in begin.into_iter().chain(rest) {
        world.happen(happening);
        world.act();
    }
    world.settle();
    world.check_converged();
}
