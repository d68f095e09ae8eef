//! proxyd: certificates that it obtains by itself, from Debian's `pebble` and from a small authority of ours.

use std::net::SocketAddr;
use std::path::Path;

use jobinit_tests::proxyd::mint::Mint;
use jobinit_tests::proxyd::pebble::{Manner, Pebble, TOOLS};
use jobinit_tests::proxyd::{Backend, Client, Proxyd, Trust, binary, wait_for};
use jobinit_tests::tools;
use nix::sys::signal::Signal;
use proxyd_wire::{AcmeCertificateView, AcmeState};
use serde_json::{Value, json};

/// What is to be obtained: certificates by name, each for some names.
fn wanted(pebble: &Pebble, folder: &Path, certificates: &[(&str, &[&str])]) -> Value {
    let certificate =
        |(name, names): &(&str, &[&str])| ((*name).to_owned(), json!({ "names": names }));
    let certificates: serde_json::Map<String, Value> =
        certificates.iter().map(certificate).collect();
    json!({
        "authorities": [pebble.authority()],
        "contacts": ["ops@shop.example"],
        "folder": folder,
        "preflight": false,
        "certificates": certificates,
    })
}

/// The same, proved in certain ways.
fn proved_by(mut wanted: Value, kinds: &[&str]) -> Value {
    wanted["challenges"] = json!(kinds);
    wanted
}

fn is_valid(view: &AcmeCertificateView) -> bool {
    view.state == AcmeState::Valid && !view.ordering
}

fn secure(pebble: &Pebble) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], pebble.tls))
}

/// The certificate that is shown for a name, which clients believe.
fn shown(trust: &Trust, pebble: &Pebble, name: &str) -> Vec<u8> {
    let client = trust.forgetful().connect(secure(pebble), name);
    let client = client.unwrap_or_else(|error| panic!("{name}: {error}"));
    client.stream.conn.peer_certificates().unwrap()[0].to_vec()
}

/// All records of a kind that are kept, by their content. What was not written to its end is none.
fn kept(folder: &Path, kind: &str) -> Vec<String> {
    let Ok(files) = std::fs::read_dir(folder.join(kind)) else { return Vec::new() };
    let paths = files.map(|file| file.unwrap().path());
    let records = paths.filter(|path| path.extension().is_some_and(|kind| kind == "json"));
    let mut texts: Vec<String> =
        records.filter_map(|path| std::fs::read_to_string(path).ok()).collect();
    texts.sort();
    texts
}

macro_rules! tools {
    () => {
        if !tools::present(&TOOLS) {
            return;
        }
    };
}

#[test]
fn o22_each_way_of_proving_obtains_a_certificate_at_once() {
    tools!();
    for kind in ["http-01", "tls-alpn-01"] {
        let pebble = Pebble::start();
        let (proxyd, state) = (pebble.proxyd(&[]), tempfile::tempdir().unwrap());
        let backend = Backend::saying("ok");
        proxyd.put_route("shop.test", "shop");
        proxyd.put_target("shop", "1", &backend.target());
        let folder = state.path().join("acme");
        let names = ["shop.test", "www.shop.test"];
        let acme = wanted(&pebble, &folder, &[("shop", &names)]);
        proxyd.put_acme(&proved_by(acme, &[kind]));
        let view = proxyd.stands("shop", is_valid);
        assert_eq!((view.covers.as_slice(), &view.failure), (&names.map(str::to_owned)[..], &None));
        let (from, until) = (view.not_before.unwrap(), view.not_after.unwrap());
        let third = (until - from) / 3;
        assert!((until - third - 2..until - third + third / 10).contains(&view.renew_at.unwrap()));
        let mut client = pebble.trust().connect(secure(&pebble), "shop.test").unwrap();
        assert_eq!(client.get("shop.test", "/").text(), "ok");
        assert_eq!(shown(&pebble.trust(), &pebble, "www.shop.test").len(), {
            shown(&pebble.trust(), &pebble, "shop.test").len()
        });
        // Nothing is left of the proofs, and nothing of the keys is told.
        assert!(proxyd.acme().challenges.is_empty() && kept(&folder, "orders").is_empty());
        for path in ["/acme", "/config", "/state", "/metrics"] {
            assert!(!proxyd.control("GET", path, "", "").text().contains("PRIVATE KEY"), "{path}");
        }
        let metrics = proxyd.control("GET", "/metrics", "", "").text();
        assert!(metrics.contains("proxyd_acme_orders_total{result=\"issued\"} 1\n"), "{metrics}");
        let expiry = format!("{{certificate=\"shop\",source=\"acme\"}} {until}\n");
        assert!(metrics.contains(&expiry), "{metrics}");
        assert!(pebble.count("with the contact set") <= 1);
    }
}

#[test]
fn o22_proofs_are_answered_before_anything_else() {
    tools!();
    let pebble = Pebble::start();
    let (proxyd, state) = (pebble.proxyd(&[]), tempfile::tempdir().unwrap());
    // One is redirected, one under maintenance, one paused, and one has no route at all.
    let redirect = r#"{"redirect":{"to":"https://elsewhere.test"}}"#;
    assert_eq!(proxyd.put("/routes/moved.test", redirect).status, 201);
    proxyd.put_route("closed.test", "closed");
    assert_eq!(proxyd.put("/services/closed/maintenance", "{}").status, 201);
    proxyd.put_route("paused.test", "paused");
    assert_eq!(proxyd.put("/services/paused/pause", "{}").status, 201);
    let names = ["moved.test", "closed.test", "paused.test", "none.test"];
    let acme = wanted(&pebble, state.path(), &[("all", &names)]);
    std::fs::set_permissions(state.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .unwrap();
    proxyd.put_acme(&proved_by(acme, &["http-01"]));
    let view = proxyd.stands("all", is_valid);
    assert_eq!(view.covers.len(), 4);
    // A token of another process with the same account is answered; with anything else it is as ever.
    let ask = |host: &str, target: &str, method: &str| {
        let mut client = proxyd.client();
        client.send(format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        client.try_answer(method == "HEAD").unwrap()
    };
    let path = "/.well-known/acme-challenge/";
    let answer = ask("Moved.test:80", &format!("{path}aB-_9"), "GET");
    assert_eq!((answer.status, answer.text().starts_with("aB-_9.")), (200, true));
    assert_eq!(ask("none.test", &format!("{path}x"), "HEAD").status, 200);
    assert_eq!(ask("moved.test", &format!("{path}a.b"), "GET").status, 308);
    assert_eq!(ask("closed.test", path, "GET").status, 503);
    assert_eq!(ask("other.test", &format!("{path}x"), "GET").status, 404);
    // A body behind it is no next request.
    let mut client = proxyd.client();
    client.send(format!(
        "GET {path}x HTTP/1.1\r\nHost: none.test\r\nContent-Length: 40\r\n\r\n\
         GET {path}yyy HTTP/1.1\r\nHost: none.test\r\n"
    ));
    assert_eq!(client.answer().status, 404);
}

#[test]
fn o22_restart_keeps_account_and_certificate() {
    tools!();
    let pebble = Pebble::start();
    let state = tempfile::tempdir().unwrap();
    let (folder, snapshot) = (state.path().join("acme"), state.path().join("state.json"));
    let args = ["--state", snapshot.to_str().unwrap()];
    let mut proxyd = pebble.proxyd(&args);
    proxyd.put_acme(&wanted(&pebble, &folder, &[("shop", &["shop.test"])]));
    let before = proxyd.stands("shop", is_valid);
    let trust = pebble.trust();
    let certificate = shown(&trust, &pebble, "shop.test");
    let account = kept(&folder, "accounts");
    proxyd.signal(Signal::SIGTERM);
    assert!(proxyd.wait().success());
    let orders = pebble.count("There are now");
    let proxyd = pebble.proxyd(&args);
    // From the first handshake on, before anybody was asked anything.
    assert_eq!(shown(&trust, &pebble, "shop.test"), certificate);
    let after = proxyd.stands("shop", is_valid);
    assert_eq!((before.not_after, before.fingerprint), (after.not_after, after.fingerprint));
    // It is ordered anew when somebody says so, by the same account.
    wait_for("the folder is ours", || proxyd.acme().active.then_some(()));
    assert_eq!(proxyd.renew("shop").status, 202);
    let renewed = wait_for("another certificate", || {
        let now = shown(&trust, &pebble, "shop.test");
        (now != certificate).then_some(now)
    });
    assert_ne!(renewed, certificate);
    assert_eq!(kept(&folder, "accounts"), account);
    assert_eq!(pebble.count("There are now 1 accounts"), 1, "{orders}");
    assert_eq!(proxyd.renew("none").status, 404);
    // Wanted no longer, it is shown no longer; wanted again, it is there.
    assert_eq!(proxyd.control("DELETE", "/acme/certificates/shop", "", "").status, 204);
    assert!(trust.forgetful().connect(secure(&pebble), "shop.test").is_err());
    let answer = proxyd.put("/acme/certificates/shop", r#"{"names":["shop.test"]}"#);
    assert_eq!(answer.status, 201);
    assert_eq!(shown(&trust, &pebble, "shop.test"), renewed);
}

#[test]
fn o22_renewed_in_time_under_load() {
    tools!();
    let pebble = Pebble::with(&Manner { validity: Some(9), ..Manner::default() });
    let (proxyd, state) = (pebble.proxyd(&[]), tempfile::tempdir().unwrap());
    let backend = Backend::saying("ok");
    proxyd.put_route("shop.test", "shop");
    proxyd.put_target("shop", "1", &backend.target());
    proxyd.put_acme(&wanted(&pebble, &state.path().join("acme"), &[("shop", &["shop.test"])]));
    proxyd.stands("shop", |view| view.not_after.is_some());
    let trust = pebble.trust();
    let mut seen = std::collections::BTreeSet::new();
    wait_for("another certificate, before the first one ends", || {
        let mut client =
            trust.forgetful().connect(secure(&pebble), "shop.test").expect("it is valid");
        assert_eq!(client.get("shop.test", "/").text(), "ok");
        seen.insert(client.stream.conn.peer_certificates().unwrap()[0].to_vec());
        (seen.len() >= 2).then_some(())
    });
    assert!(proxyd.standing("shop").failure.is_none());
}

#[test]
fn o22_why_it_failed_is_told_in_words() {
    tools!();
    let pebble = Pebble::with(&Manner { refused: &["refused.test"], ..Manner::default() });
    pebble.tell_names("/set-servfail", &json!({ "host": "lost.test." }));
    pebble.tell_names("/add-a", &json!({ "host": "far.test.", "addresses": ["127.0.0.9"] }));
    let (proxyd, state) = (pebble.proxyd(&[]), tempfile::tempdir().unwrap());
    let folder = state.path().join("acme");
    let all: [(&str, &[&str]); 4] = [
        ("good", &["good.test"]),
        ("lost", &["lost.test"]),
        ("far", &["far.test"]),
        ("refused", &["refused.test"]),
    ];
    proxyd.put_acme(&wanted(&pebble, &folder, &all));
    proxyd.stands("good", is_valid);
    for (name, kind, part) in [
        ("lost", "dns", "give it an A or AAAA record"),
        ("far", "unreachable", "open port 80"),
        ("refused", "refused", "makes no certificate"),
    ] {
        let view = proxyd.stands(name, |view| view.failure.is_some());
        let failure = view.failure.unwrap();
        assert_eq!((failure.kind.as_str(), view.state), (kind, AcmeState::Failed), "{failure:?}");
        assert!(failure.message.contains(part), "{failure:?}");
        assert_eq!((failure.tries, failure.authority), (1, pebble.directory()));
        let wait = view.next_try.unwrap() - failure.at;
        assert!((60..=121).contains(&wait), "{wait}");
        assert!(proxyd.stderr().contains(&format!("the certificate {name} was not obtained")));
    }
    // What has failed is known to whoever comes next: a restart asks nobody.
    let orders = pebble.count("order");
    drop(proxyd);
    let proxyd = pebble.proxyd(&[]);
    proxyd.put_acme(&wanted(&pebble, &folder, &all));
    let view = proxyd.stands("far", |view| view.failure.is_some());
    assert_eq!((view.failure.unwrap().tries, view.ordering), (1, false));
    assert_eq!(pebble.count("order"), orders);
    // Put right, and asked for.
    pebble.tell_names("/clear-a", &json!({ "host": "far.test." }));
    wait_for("the folder is ours", || proxyd.acme().active.then_some(()));
    assert_eq!(proxyd.renew("far").status, 202);
    assert!(proxyd.stands("far", is_valid).failure.is_none());
}

#[test]
fn o22_where_one_authority_fails_the_next_is_asked() {
    tools!();
    let pebble = Pebble::start();
    let (proxyd, state) = (pebble.proxyd(&[]), tempfile::tempdir().unwrap());
    let mut acme = wanted(&pebble, &state.path().join("acme"), &[("shop", &["shop.test"])]);
    let mut stranger = pebble.authority();
    stranger["directory"] = json!(pebble.directory().replace("127.0.0.1", "127.0.0.2"));
    let mut unbelieved = json!({ "directory": pebble.directory().replace("/dir", "//dir") });
    unbelieved["profile"] = json!("none");
    acme["authorities"] = json!([stranger, unbelieved, pebble.authority()]);
    proxyd.put_acme(&acme);
    let view = proxyd.stands("shop", is_valid);
    assert_eq!(view.authority.as_deref(), Some(pebble.directory().as_str()));
    let said = proxyd.stderr();
    assert!(said.contains("the authority cannot be reached"), "{said}");
    assert!(said.contains("the authority's own certificate is not believed"), "{said}");
}

#[test]
fn o22_nonces_that_are_refused_and_authorizations_that_are_there() {
    tools!();
    let faults = [("PEBBLE_WFE_NONCEREJECT", "8"), ("PEBBLE_AUTHZREUSE", "100")];
    let pebble = Pebble::with(&Manner { faults: &faults, ..Manner::default() });
    let (proxyd, state) = (pebble.proxyd(&[]), tempfile::tempdir().unwrap());
    let folder = state.path().join("acme");
    proxyd.put_acme(&wanted(&pebble, &folder, &[("shop", &["a.test", "b.test"])]));
    let first = proxyd.stands("shop", is_valid);
    let more = r#"{"names":["a.test","b.test","c.test"]}"#;
    assert_eq!(proxyd.put("/acme/certificates/shop", more).status, 200);
    let second = proxyd.stands("shop", |view| is_valid(view) && view.covers.len() == 3);
    assert_ne!(first.fingerprint, second.fingerprint);
}

#[test]
fn o22_an_account_that_belongs_to_another() {
    tools!();
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let manner = Manner { binding: Some(("kid-1", key)), ..Manner::default() };
    let pebble = Pebble::with(&manner);
    let (proxyd, state) = (pebble.proxyd(&[]), tempfile::tempdir().unwrap());
    let mut acme = wanted(&pebble, &state.path().join("acme"), &[("shop", &["shop.test"])]);
    proxyd.put_acme(&acme);
    let failure = proxyd.stands("shop", |view| view.failure.is_some()).failure.unwrap();
    assert_eq!(failure.kind, "account", "{failure:?}");
    let file = state.path().join("key");
    std::fs::write(&file, format!("{key}\n")).unwrap();
    acme["authorities"][0]["eab"] = json!({ "key_id": "kid-1", "key_file": file });
    proxyd.put_acme(&acme);
    // Other settings are a reason to try at once.
    proxyd.stands("shop", is_valid);
}

#[test]
fn o22_records_are_placed_by_somebody_else() {
    tools!();
    let pebble = Pebble::start();
    let (proxyd, state) = (pebble.proxyd(&[]), tempfile::tempdir().unwrap());
    let names = ["*.shop.test", "shop.test"];
    let acme = wanted(&pebble, &state.path().join("acme"), &[("wild", &names)]);
    let answer = proxyd.put("/acme", &acme.to_string());
    assert_eq!((answer.status, answer.error().error.as_str()), (400, "bad_acme"));
    proxyd.put_acme(&proved_by(acme.clone(), &["dns-01"]));
    let record = "_acme-challenge.shop.test";
    let revision = proxyd.acme().revision;
    let values = wait_for("a record that is wanted", || {
        let all = proxyd.control("GET", "/acme/challenges", "", "");
        let all: Value = serde_json::from_slice(&all.body).unwrap();
        let values = all[record]["values"].as_array()?.clone();
        (values.len() == 2).then_some(values)
    });
    let path = format!("/acme/challenges/{record}");
    let wrong = proxyd.put(&path, r#"{"values":["x"]}"#);
    assert_eq!((wrong.status, wrong.error().error.as_str()), (409, "changed"));
    assert_eq!(proxyd.put("/acme/challenges/other", r#"{"values":["x"]}"#).status, 404);
    for value in &values {
        pebble.tell_names("/set-txt", &json!({ "host": format!("{record}."), "value": value }));
    }
    assert_eq!(proxyd.put(&path, &json!({ "values": values }).to_string()).status, 204);
    let view = proxyd.stands("wild", is_valid);
    assert_eq!(view.covers.len(), 2);
    shown(&pebble.trust(), &pebble, "any.shop.test");
    assert!(proxyd.acme().challenges.is_empty(), "it may be taken away");
    assert_ne!(proxyd.acme().revision, revision);
    // Whoever cannot place it says why.
    let more = r#"{"names":["*.other.test"]}"#;
    assert_eq!(proxyd.put("/acme/certificates/other", more).status, 201);
    let path = "/acme/challenges/_acme-challenge.other.test";
    wait_for("another record", || {
        let all = proxyd.acme().challenges;
        let values = &all.get("_acme-challenge.other.test")?.values;
        let told = json!({ "values": values, "error": "the zone is locked" });
        (proxyd.put(path, &told.to_string()).status == 204).then_some(())
    });
    let failure = proxyd.stands("other", |view| view.failure.is_some()).failure.unwrap();
    assert_eq!(failure.kind, "hook");
    assert!(failure.message.contains("the zone is locked"), "{failure:?}");
}

#[test]
fn o22_of_two_generations_one_obtains() {
    tools!();
    let pebble = Pebble::start();
    // Both have them, as they do while init's proxy is rolled: so either may be asked for a proof.
    let listeners = pebble.listeners();
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().join("acme");
    let mut old = pebble.proxyd_with_listeners(&listeners);
    old.put_acme(&wanted(&pebble, &folder, &[("shop", &["shop.test"])]));
    old.stands("shop", is_valid);
    let new = pebble.proxyd_with_listeners(&listeners);
    let both: [(&str, &[&str]); 2] = [("shop", &["shop.test"]), ("late", &["late.test"])];
    new.put_acme(&proved_by(wanted(&pebble, &folder, &both), &["http-01"]));
    assert!(!new.acme().active && old.acme().active);
    // What the one obtains the other takes up.
    old.put_acme(&proved_by(wanted(&pebble, &folder, &both), &["http-01"]));
    let taken = new.stands("late", is_valid).fingerprint;
    assert_eq!(old.stands("late", is_valid).fingerprint, taken);
    // When the old one goes, the new one obtains.
    old.signal(Signal::SIGTERM);
    old.wait();
    wait_for("the folder is its", || new.acme().active.then_some(()));
    let trust = pebble.trust();
    let before = shown(&trust, &pebble, "late.test");
    shown(&trust, &pebble, "shop.test");
    assert_eq!(new.renew("late").status, 202);
    new.stands("late", |view| is_valid(view) && view.fingerprint != taken);
    assert_ne!(shown(&trust, &pebble, "late.test"), before);
    assert_eq!(pebble.count(" accounts in memory"), 1, "and by the same account");
}

#[test]
fn o22_killed_at_any_moment_it_comes_to_its_end() {
    tools!();
    // Slow enough to be met in the middle.
    let faults = [("PEBBLE_VA_NOSLEEP", "0"), ("PEBBLE_VA_SLEEPTIME", "1")];
    let pebble = Pebble::with(&Manner { faults: &faults, ..Manner::default() });
    // Whoever comes to look meanwhile waits, as with listeners that init keeps.
    let listeners = pebble.listeners();
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().join("acme");
    let moments: [fn(&Proxyd, &Path) -> bool; 4] = [
        |proxyd, _| proxyd.standing("shop").ordering,
        |_, folder| !kept(folder, "accounts").is_empty(),
        |_, folder| !kept(folder, "orders").is_empty(),
        |_, folder| !kept(folder, "certificates").is_empty(),
    ];
    for moment in moments {
        let mut proxyd = pebble.proxyd_with_listeners(&listeners);
        proxyd.put_acme(&wanted(&pebble, &folder, &[("shop", &["shop.test"])]));
        wait_for("the moment", || moment(&proxyd, &folder).then_some(()));
        proxyd.signal(Signal::SIGKILL);
        proxyd.wait();
        for text in
            ["accounts", "orders", "certificates"].iter().flat_map(|kind| kept(&folder, kind))
        {
            let record: Result<Value, _> = serde_json::from_str(&text);
            assert!(record.is_ok(), "what is there is whole: {text}");
        }
    }
    let proxyd = pebble.proxyd_with_listeners(&listeners);
    proxyd.put_acme(&wanted(&pebble, &folder, &[("shop", &["shop.test"])]));
    proxyd.stands("shop", is_valid);
    shown(&pebble.trust(), &pebble, "shop.test");
    let accounts = pebble.count(" accounts in memory");
    assert!(accounts <= 2, "{accounts}: at most one was not known to us yet");
    assert!(!proxyd.stderr().contains("damaged"), "{}", proxyd.stderr());
}

#[test]
fn o22_killed_while_it_waits_it_goes_on_with_the_same_order() {
    tools!();
    let pebble = Pebble::start();
    let state = tempfile::tempdir().unwrap();
    let acme = wanted(&pebble, &state.path().join("acme"), &[("wild", &["*.shop.test"])]);
    let acme = proved_by(acme, &["dns-01"]);
    let record = "_acme-challenge.shop.test";
    let mut values = Vec::new();
    for _ in 0..3 {
        let mut proxyd = pebble.proxyd(&[]);
        proxyd.put_acme(&acme);
        values.push(wait_for("a record that is wanted", || {
            Some(proxyd.acme().challenges.remove(record)?.values)
        }));
        proxyd.signal(Signal::SIGKILL);
        proxyd.wait();
    }
    assert!(values.iter().all(|again| *again == values[0]), "{values:?}");
    let proxyd = pebble.proxyd(&[]);
    proxyd.put_acme(&acme);
    wait_for("the record", || proxyd.acme().challenges.remove(record));
    pebble.tell_names("/set-txt", &json!({ "host": format!("{record}."), "value": values[0][0] }));
    let told = json!({ "values": values[0] }).to_string();
    assert_eq!(proxyd.put(&format!("/acme/challenges/{record}"), &told).status, 204);
    proxyd.stands("wild", is_valid);
    let made = (pebble.count(" accounts in memory"), pebble.count(" orders in the db"));
    assert_eq!(made, (1, 1));
}

#[test]
fn o22_an_authority_that_has_forgotten_all_is_a_new_one() {
    tools!();
    let mut pebble = Pebble::start();
    let (proxyd, state) = (pebble.proxyd(&[]), tempfile::tempdir().unwrap());
    let folder = state.path().join("acme");
    let mut acme = wanted(&pebble, &folder, &[("shop", &["shop.test"])]);
    proxyd.put_acme(&acme);
    proxyd.stands("shop", is_valid);
    pebble.start_anew(&Manner::default());
    // It is elsewhere now; what is kept of it is said to be of there.
    let account = std::fs::read_dir(folder.join("accounts")).unwrap().next().unwrap().unwrap();
    acme["authorities"][0] = pebble.authority();
    let text = std::fs::read_to_string(account.path()).unwrap();
    let old = serde_json::from_str::<Value>(&text).unwrap()["directory"].clone();
    let moved = text.replace(old.as_str().unwrap(), &pebble.directory());
    std::fs::write(account.path(), &moved).unwrap();
    acme["certificates"]["more"] = json!({ "names": ["more.test"] });
    proxyd.put_acme(&acme);
    proxyd.stands("more", is_valid);
}

#[test]
fn o22_what_is_damaged_is_set_aside_and_obtained_anew() {
    tools!();
    let pebble = Pebble::start();
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().join("acme");
    let acme = wanted(&pebble, &folder, &[("shop", &["shop.test"])]);
    let proxyd = pebble.proxyd(&[]);
    proxyd.put_acme(&acme);
    let first = proxyd.stands("shop", is_valid);
    drop(proxyd);
    let file = folder.join("certificates/shop.json");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, &text[..text.len() / 2]).unwrap();
    let proxyd = pebble.proxyd(&[]);
    proxyd.put_acme(&acme);
    let second = proxyd.stands("shop", is_valid);
    assert_ne!(first.fingerprint, second.fingerprint);
    let said = proxyd.stderr();
    assert!(said.contains("the certificate shop is damaged"), "{said}");
    let aside = std::fs::read_to_string(folder.join("certificates/shop.json.damaged")).unwrap();
    assert_eq!(aside, text[..text.len() / 2]);
    // A folder that others may read is none.
    std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    drop(proxyd);
    let proxyd = pebble.proxyd(&[]);
    proxyd.put_acme(&acme);
    let trouble = wait_for("the trouble", || proxyd.acme().trouble);
    assert!(trouble.contains("its mode must be 0700"), "{trouble}");
    std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    proxyd.stands("shop", is_valid);
    assert_eq!(proxyd.acme().trouble, None);
}

/// What an authority of ours is to make, and how.
fn from_mint(mint: &Mint, folder: &Path, profile: &str) -> Value {
    let authority = json!({
        "directory": mint.directory(),
        "root_file": mint.root_file(),
        "profile": profile,
    });
    json!({
        "authorities": [authority],
        "folder": folder,
        "preflight": false,
        "certificates": { "shop": { "names": ["shop.test"] } },
    })
}

#[test]
fn p12_it_is_renewed_when_the_authority_suggests() {
    let (mint, proxyd, state) = (Mint::start(), Proxyd::start(), tempfile::tempdir().unwrap());
    proxyd.put_acme(&from_mint(&mint, &state.path().join("acme"), "short"));
    // The first one is to be replaced at once.
    let (start, end) = (4_102_444_800, 4_102_444_800 + 86_400);
    let suggested = |view: &AcmeCertificateView| {
        view.renew_at.is_some_and(|at| (start..end).contains(&at)) && is_valid(view)
    };
    proxyd.stands("shop", suggested);
    let (orders, asked) = (mint.orders(), mint.asked());
    assert_eq!((orders.len(), asked.len()), (2, 2));
    assert_eq!((&orders[0]["replaces"], &orders[0]["profile"]), (&Value::Null, &json!("short")));
    assert_eq!(
        (&orders[1]["replaces"], &orders[1]["profile"]),
        (&json!(asked[0]), &json!("short"))
    );
}

#[test]
fn p12_an_authority_that_has_had_enough_is_left_alone() {
    let (mint, proxyd, state) = (Mint::start(), Proxyd::start(), tempfile::tempdir().unwrap());
    mint.close(7200);
    proxyd.put_acme(&from_mint(&mint, &state.path().join("acme"), "short"));
    let view = proxyd.stands("shop", |view| view.failure.is_some());
    let failure = view.failure.unwrap();
    assert_eq!(failure.kind, "rate-limit");
    assert!(failure.message.contains("wait") && failure.message.contains("enough"), "{failure:?}");
    let wait = view.next_try.unwrap() - failure.at;
    assert!((7199..7202).contains(&wait), "{wait}");
    // Also when somebody does not want to wait.
    assert_eq!(proxyd.renew("shop").status, 202);
    proxyd.stands("shop", |view| view.failure.as_ref().is_some_and(|failure| failure.tries == 2));
    assert_eq!(mint.orders().len(), 1);
}

#[test]
fn p12_a_profile_that_there_is_not() {
    let (mint, proxyd, state) = (Mint::start(), Proxyd::start(), tempfile::tempdir().unwrap());
    proxyd.put_acme(&from_mint(&mint, &state.path().join("acme"), "long"));
    let failure = proxyd.stands("shop", |view| view.failure.is_some()).failure.unwrap();
    assert!(failure.message.contains("it has no profile `long`; it has: short"), "{failure:?}");
    assert_eq!(mint.orders().len(), 0);
}

/// Needs root: names are what `/etc/hosts` says, and port 80 is ours, in a world of its own.
#[test]
fn p12_what_is_in_the_way_is_seen_before_anybody_is_asked() {
    if !tools::present(&["unshare", "ip"]) {
        return;
    }
    if !nix::unistd::geteuid().is_root() {
        return tools::skip("only root has namespaces of its own");
    }
    let folder = tempfile::tempdir().unwrap();
    let hosts = folder.path().join("hosts");
    std::fs::write(&hosts, "127.0.0.1 localhost here.test\n").unwrap();
    let mut command = std::process::Command::new("unshare");
    command.args(["--net", "--mount", "sh", "-c"]);
    command.arg("ip link set lo up && mount --bind \"$0\" /etc/hosts && exec \"$@\"").arg(&hosts);
    command.arg(binary("proxyd")).args(["--listen", "127.0.0.1:80", "--workers", "1"]);
    command.arg("--control").arg(folder.path().join("control"));
    command.args(["--access-log", "/dev/null"]);
    let acme = json!({
        "authorities": [{ "directory": "https://127.0.0.1:1/dir" }],
        "folder": folder.path().join("acme"),
        "certificates": { "shop": { "names": ["here.test", "none.test"] } },
    });
    let proxyd = Proxyd::spawn(&mut command, folder);
    proxyd.put_acme(&acme);
    let view = proxyd.stands("shop", |view| view.failure.is_some() && !view.ordering);
    assert_eq!(view.blocked.keys().collect::<Vec<_>>(), ["none.test"]);
    let why = &view.blocked["none.test"];
    assert!(why.contains("give it an A or AAAA record"), "{why}");
    // The other one was to be ordered all the same.
    let failure = view.failure.unwrap();
    assert!(matches!(failure.kind.as_str(), "authority" | "trust"), "{failure:?}");
}

#[test]
fn a_config_file_is_enough() {
    tools!();
    let pebble = Pebble::start();
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join("proxyd.toml");
    let text = |names: &str| {
        format!(
            "[acme]\nfolder = {:?}\npreflight = false\n[[acme.authorities]]\ndirectory = {:?}\n\
             root_file = {:?}\n[acme.certificates.shop]\nnames = {names}\n",
            state.path().join("acme"),
            pebble.directory(),
            pebble.root_file(),
        )
    };
    std::fs::write(&file, text(r#"["shop.test"]"#)).unwrap();
    let proxyd = pebble.proxyd(&["--config", file.to_str().unwrap()]);
    proxyd.stands("shop", is_valid);
    std::fs::write(&file, text(r#"["10.0.0.1"]"#)).unwrap();
    proxyd.signal(Signal::SIGHUP);
    wait_for("the mistake", || {
        proxyd.stderr().contains("acme: certificates.shop.names: `10.0.0.1` is not").then_some(())
    });
    shown(&pebble.trust(), &pebble, "shop.test");
    let mut client = Client::connect(proxyd.address);
    assert_eq!(client.get("/").status, 404);
}
