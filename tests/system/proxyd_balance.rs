//! proxyd: which of several targets gets a request.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use jobinit_tests::proxyd::{Answer, Backend, Client, Proxyd, wait_for};

/// A service `app` for `app.test`, with these settings and targets that say their names.
struct Site {
    proxyd: Proxyd,
    backends: BTreeMap<String, Backend>,
}

impl Site {
    fn start(settings: &str) -> Site {
        let proxyd = Proxyd::start();
        proxyd.put_route("app.test", "app");
        put(&proxyd, "/services/app", settings);
        Site { proxyd, backends: BTreeMap::new() }
    }

    /// `settings`: what a target says beside its address, each with a comma behind it.
    fn add(&mut self, name: &str, settings: &str) {
        let said = name.to_owned();
        let backend = Backend::start(move |_, out| {
            write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{said}", said.len())?;
            Ok(true)
        });
        self.put(name, &backend.target(), settings);
        self.backends.insert(name.to_owned(), backend);
    }

    fn put(&self, name: &str, address: &str, settings: &str) {
        let body = format!(r#"{{{settings}"address":"{address}"}}"#);
        put(&self.proxyd, &format!("/services/app/targets/{name}"), &body);
    }

    fn get(&self, target: &str, fields: &str) -> Answer {
        get(&mut self.proxyd.client(), target, fields)
    }

    /// Who answers a request.
    fn who(&self, target: &str, fields: &str) -> String {
        self.get(target, fields).text()
    }
}

fn put(proxyd: &Proxyd, path: &str, body: &str) {
    let answer = proxyd.put(path, body);
    assert!(matches!(answer.status, 200 | 201), "{path}: {answer:?}");
}

fn get(client: &mut Client, target: &str, fields: &str) -> Answer {
    client.send(format!("GET {target} HTTP/1.1\r\nHost: app.test\r\n{fields}\r\n"));
    let answer = client.answer();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

#[test]
fn p11_round_robin_is_in_turn_on_all_workers() {
    let mut site = Site::start(r#"{"balance":"round-robin"}"#);
    site.add("a", "");
    site.add("b", r#""weight":0,"#);
    site.add("c", r#""weight":2,"#);
    let order: String = (0..12).map(|_| site.who("/", "")).collect();
    assert_eq!(order, "caccaccaccac");
    site.put("c", &site.backends["c"].target(), "");
    let order: String = (0..8).map(|_| site.who("/", "")).collect();
    assert!("acacacaca".contains(&order), "{order}");
}

#[test]
fn p11_hash_is_the_same_for_the_same_and_moves_little() {
    for (by, target, fields) in [
        (r#""path""#, "/KEY?any=RANDOM", ""),
        (r#"{"header":"X-User"}"#, "/RANDOM", "x-user: KEY\r\n"),
        (r#"{"cookie":"sid"}"#, "/", "Cookie: a=RANDOM; sid=KEY; b=1\r\n"),
    ] {
        let mut site = Site::start(&format!(r#"{{"balance":{{"hash":{by}}}}}"#));
        for name in ["app.1", "app.2", "app.3", "app.4"] {
            site.add(name, "");
        }
        let mut client = site.proxyd.client();
        let mut who = |round: u32| -> Vec<String> {
            let fill = |text: &str, key: u32| {
                text.replace("KEY", &key.to_string()).replace("RANDOM", &(key * round).to_string())
            };
            (0..60)
                .map(|key| get(&mut client, &fill(target, key), &fill(fields, key)).text())
                .collect()
        };
        let first = who(1);
        assert_eq!(who(2), first, "{by}");
        for backend in site.backends.keys() {
            let share = first.iter().filter(|name| *name == backend).count();
            assert!(share > 2, "{by}: {backend} has {share} of 60");
        }
        site.proxyd.delete_target("app", "app.3", 0);
        for (before, after) in first.iter().zip(who(3)) {
            assert!(*before == after || before == "app.3", "{by}: {before} moved to {after}");
        }
        site.put("app.3", &site.backends["app.3"].target(), "");
        assert_eq!(who(4), first, "{by}: it is the name that counts");
    }
    let mut site = Site::start(r#"{"balance":{"hash":"client"}}"#);
    for name in ["app.1", "app.2", "app.3", "app.4"] {
        site.add(name, "");
    }
    let first = site.who("/", "");
    assert!((0..20).all(|_| site.who("/", "") == first));
}

#[test]
fn p11_who_lacks_what_is_hashed_goes_anywhere() {
    let mut site = Site::start(r#"{"balance":{"hash":{"header":"X-User"}}}"#);
    site.add("a", "");
    site.add("b", "");
    let who: String = (0..40).map(|_| site.who("/", "")).collect();
    assert!(who.contains('a') && who.contains('b'), "{who}");
}

/// The name and value of the cookie that an answer sets.
fn cookie(answer: &Answer) -> Option<(String, String)> {
    let set = answer.field("set-cookie")?;
    let (pair, _) = set.split_once(';')?;
    let (name, value) = pair.split_once('=')?;
    Some((name.to_owned(), value.to_owned()))
}

#[test]
fn p11_sticky_brings_back_until_the_target_is_gone() {
    let sticky = r#"{"sticky":{"cookie":"at","max_age_s":600,"path":"/x","secure":true,"same_site":"strict"}}"#;
    let mut site = Site::start(sticky);
    for name in ["app.1", "app.2", "app.3"] {
        site.add(name, "");
    }
    let first = site.get("/", "");
    let set = first.field("set-cookie").unwrap();
    let (name, value) = cookie(&first).unwrap();
    assert_eq!(name, "at");
    assert_eq!(set, format!("at={value}; Path=/x; Max-Age=600; SameSite=Strict; Secure; HttpOnly"));
    let port = site.backends[&first.text()].address.port().to_string();
    assert!(value.len() == 16 && !value.contains(&port), "{value}");
    let fields = format!("Cookie: x=1; at={value}\r\n");
    for _ in 0..20 {
        let again = site.get("/", &fields);
        assert_eq!(again.text(), first.text());
        assert_eq!(
            again.field("set-cookie").as_deref(),
            Some(set.as_str()),
            "its time begins anew"
        );
    }
    // Without weight it gets nothing new, but keeps what it has.
    let own = first.text();
    site.put(&own, &site.backends[&own].target(), r#""weight":0,"#);
    assert!((0..20).all(|_| site.who("/", "") != own));
    assert_eq!(site.who("/", &fields), own);
    // Another proxyd knows the value, too: it depends on names only.
    let mut other = Site::start(sticky);
    for name in ["app.1", "app.2", "app.3"] {
        other.add(name, "");
    }
    assert!((0..20).all(|_| other.who("/", &fields) == own));
    site.proxyd.delete_target("app", &own, 0);
    let moved = site.get("/", &fields);
    assert!(moved.text() != own);
    let (_, value) = cookie(&moved).unwrap();
    let fields = format!("Cookie: at={value}\r\n");
    assert!((0..20).all(|_| site.who("/", &fields) == moved.text()));
    for nonsense in ["at=", "at=zz", "at=ffffffffffffffffffff", "at=\"\""] {
        let answer = site.get("/", &format!("Cookie: {nonsense}\r\n"));
        assert!(cookie(&answer).is_some(), "{nonsense}");
    }
}

#[test]
fn p11_the_cookie_goes_with_the_final_answer_only() {
    let backend = Backend::start(|seen, out| {
        write!(out, "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")?;
        write!(out, "HTTP/1.1 200 OK\r\nSet-Cookie: own=1\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        write!(out, "{:x}\r\n{}\r\n0\r\n\r\n", seen.target.len(), seen.target)?;
        Ok(true)
    });
    let site = Site::start(r#"{"sticky":{"cookie":"at"}}"#);
    site.put("1", &backend.target(), "");
    let mut client = site.proxyd.client();
    client.send("GET /chunks HTTP/1.1\r\nHost: app.test\r\n\r\n");
    let hints = client.answer();
    assert_eq!((hints.status, hints.field("set-cookie")), (103, None));
    let answer = client.answer();
    assert_eq!((answer.status, answer.text().as_str()), (200, "/chunks"));
    let set = answer.field("set-cookie").unwrap();
    assert!(set.starts_with("own=1, at=") && set.contains("HttpOnly"), "{set}");
    let value = set.split_once("at=").unwrap().1.split(';').next().unwrap();
    client.send(format!("GET /chunks HTTP/1.1\r\nHost: app.test\r\nCookie: at={value}\r\n\r\n"));
    assert_eq!(client.answer().status, 103);
    let again = client.answer().field("set-cookie");
    assert_eq!(again.as_deref(), Some("own=1"), "it has one that lasts for the session");
    client.send("HEAD / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    assert_eq!(client.answer_to_head().status, 103);
    assert!(client.answer_to_head().field("set-cookie").unwrap().contains("at="));
}

#[test]
fn p11_canary_has_its_exact_share() {
    let mut site =
        Site::start(r#"{"canary":{"percent":7,"header":"X-Canary","cookie":"try","sticky":true}}"#);
    site.add("old", "");
    site.add("new", r#""group":"canary","#);
    let answers: Vec<Answer> = (0..200).map(|_| site.get("/", "")).collect();
    let tried = answers.iter().filter(|answer| answer.text() == "new").count();
    assert_eq!(tried, 14);
    for answer in &answers {
        let word = if answer.text() == "new" { "always" } else { "never" };
        assert_eq!(cookie(answer).unwrap(), ("try".to_owned(), word.to_owned()));
        assert!(answer.field("set-cookie").unwrap().ends_with("Path=/; SameSite=Lax; HttpOnly"));
    }
    for (fields, who) in [
        ("Cookie: try=always\r\n", "new"),
        ("Cookie: try=never\r\n", "old"),
        ("X-Canary: always\r\nCookie: try=never\r\n", "new"),
        ("x-canary: never\r\nCookie: try=always\r\n", "old"),
    ] {
        for _ in 0..30 {
            let answer = site.get("/", fields);
            assert_eq!(answer.text(), who, "{fields}");
            assert_eq!(answer.field("set-cookie"), None);
        }
    }
    // The other group stands in for one of which nobody is alive.
    site.proxyd.delete_target("app", "new", 0);
    assert_eq!(site.who("/", "Cookie: try=always\r\n"), "old");
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    site.put("new", &format!("tcp:{dead}"), r#""group":"canary","#);
    for _ in 0..20 {
        assert_eq!(site.who("/", "Cookie: try=always\r\n"), "old");
    }
    assert_eq!(
        site.proxyd.state().services["app"].targets["new"].failures,
        5,
        "then it is ejected"
    );
}

#[test]
fn p11_a_canary_without_a_rule_gets_nothing_while_others_live() {
    let mut site = Site::start("{}");
    site.add("new", r#""group":"canary","#);
    assert_eq!(site.who("/", ""), "new");
    site.add("old", "");
    assert!((0..30).all(|_| site.who("/", "") == "old"));
}

#[test]
fn p11_stickiness_gives_way_to_the_group_that_is_asked_for() {
    let mut site = Site::start(r#"{"sticky":{"cookie":"at"},"canary":{"header":"X-Canary"}}"#);
    site.add("old", "");
    site.add("new", r#""group":"canary","#);
    let (_, at) = cookie(&site.get("/", "X-Canary: always\r\n")).unwrap();
    assert_eq!(site.who("/", &format!("Cookie: at={at}\r\n")), "new");
    let moved = site.get("/", &format!("X-Canary: never\r\nCookie: at={at}\r\n"));
    assert_eq!(moved.text(), "old");
    assert!(cookie(&moved).unwrap().1 != at);
}

#[test]
fn settings_are_shown_as_they_were_put_and_change_nothing_else() {
    let mut site = Site::start("{}");
    site.add("1", "");
    let mut client = site.proxyd.client();
    assert_eq!(client.get("/").text(), "1");
    let settings = r#"{"balance":{"hash":{"cookie":"sid"}},"sticky":{"cookie":"at"},"canary":{"percent":5},"eject":{"failures":3,"statuses":[500],"backoff_ms":100,"max_backoff_ms":1000,"panic":50},"retry":{"attempts":2,"statuses":[503],"budget_percent":10,"budget_per_s":1},"queue":10,"queue_ms":100,"pool":{"idle_ms":1000,"size":5,"requests":100}}"#;
    assert_eq!(site.proxyd.put("/services/app", settings).text(), settings);
    let target = r#""weight":5,"max_in_flight":9,"group":"canary","#;
    site.put("1", &site.backends["1"].target(), target);
    let state = site.proxyd.state();
    let view = &state.services["app"];
    assert_eq!(serde_json::to_string(&view.settings).unwrap(), settings);
    let view = &view.targets["1"];
    assert_eq!((view.weight, view.max_in_flight), (5, Some(9)));
    assert_eq!(serde_json::to_value(view.group).unwrap(), "canary");
    assert_eq!(client.get("/").text(), "1");
    assert_eq!(site.backends["1"].connections(), 1, "it is the same target as before");
    for (path, body, part) in [
        (
            "/services/app",
            r#"{"retry":{"attempts":11}}"#,
            "retry.attempts is 11: it must be from 1 to 10",
        ),
        ("/services/app", r#"{"balance":"random"}"#, "least-loaded"),
        ("/services/app", r#"{"eject":{"failure":1}}"#, "unknown field `failure`"),
        (
            "/services/app/targets/1",
            r#"{"address":"unix:/x","weight":257}"#,
            "weight is 257: it must be from 0 to 256",
        ),
        ("/services/app/targets/1", r#"{"address":"unix:/x","max_in_flight":0}"#, "1 to 1000000"),
        ("/services/app/pause", r#"{"max_ms":0}"#, "max_ms is 0: it must be from 1 to 3600000"),
        (
            "/services/app/maintenance",
            r#"{"status":200}"#,
            "status is 200: it must be from 400 to 599",
        ),
        ("/services/app/maintenance", r#"{"allow":["x"]}"#, "10.0.0.0/8"),
    ] {
        let answer = site.proxyd.put(path, body);
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.error().message.contains(part), "{body}: {:?}", answer.error());
    }
    assert_eq!(site.proxyd.state().generation, state.generation, "nothing has changed");
}

#[test]
fn p04_targets_change_under_load_with_every_policy() {
    for settings in [
        r#"{"balance":"round-robin","sticky":{"cookie":"at"}}"#,
        r#"{"balance":{"hash":"path"},"queue":100}"#,
        r#"{"canary":{"percent":50},"retry":{"statuses":[503]},"eject":{"statuses":[500]}}"#,
    ] {
        let mut site = Site::start(settings);
        site.add("0", "");
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicUsize::new(0));
        let address = site.proxyd.address;
        let clients: Vec<_> = (0..4)
            .map(|number| {
                let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
                thread::spawn(move || {
                    let mut client = Client::connect(address);
                    let mut fields = String::new();
                    while !stop.load(Ordering::SeqCst) {
                        let answer = get(&mut client, &format!("/{number}"), &fields);
                        if let Some((name, value)) = cookie(&answer) {
                            fields = format!("Cookie: {name}={value}\r\n");
                        }
                        answered.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        for round in 0..12 {
            let bound = if round % 3 == 0 { r#""max_in_flight":3,"# } else { "" };
            let group = if round % 2 == 0 { r#""group":"canary","weight":9,"# } else { "" };
            site.add(&format!("{}", round + 1), &format!("{bound}{group}"));
            let before = answered.load(Ordering::SeqCst);
            wait_for("some load", || (answered.load(Ordering::SeqCst) > before + 30).then_some(()));
            if round == 0 {
                continue;
            }
            let old = format!("{}", round - 1);
            assert_eq!(site.proxyd.delete_target("app", &old, 10_000).left, 0);
            let asked = site.backends[&old].seen().len();
            wait_for("its connections closed", || {
                (site.backends[&old].open_connections() == 0).then_some(())
            });
            assert_eq!(site.backends[&old].seen().len(), asked, "{settings}");
        }
        stop.store(true, Ordering::SeqCst);
        for client in clients {
            client.join().expect("no client may lose a request");
        }
    }
}
