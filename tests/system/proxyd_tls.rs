//! proxyd: TLS towards clients.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::panic::AssertUnwindSafe;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use jobinit_tests::proxyd::{
    Authority, Backend, Pair, Proxyd, SecureClient, Trust, alert, checksum, noise, wait_for,
};
use nix::sys::signal::Signal;
use rustls::AlertDescription;
use rustls::version::{TLS12, TLS13};

/// A proxy with an app for `app.test` and its certificate.
struct Site {
    proxyd: Proxyd,
    authority: Authority,
    backend: Backend,
}

impl Site {
    fn start(backend: Backend, args: &[&str]) -> Site {
        let (proxyd, authority) = (Proxyd::start_secure(args), Authority::default());
        proxyd.put_route("app.test", "app");
        proxyd.put_target("app", "1", &backend.target());
        proxyd.put_certificate("app", &authority.pair(&["app.test"]));
        Site { proxyd, authority, backend }
    }

    fn client(&self) -> SecureClient {
        self.authority.trust().connect(self.proxyd.secure_address(), "app.test").unwrap()
    }
}

#[test]
fn o21_the_right_certificate_for_each_name() {
    let site = Site::start(Backend::saying("ok"), &[]);
    let (proxyd, authority) = (&site.proxyd, &site.authority);
    let (shop, wild) = (
        authority.pair(&["shop.example", "www.shop.example"]),
        authority.pair(&["*.shop.example"]),
    );
    proxyd.put_certificate("shop", &shop);
    proxyd.put_certificate("wild", &wild);
    let (trust, address) = (authority.trust(), proxyd.secure_address());
    for (name, pair) in
        [("shop.example", &shop), ("WWW.shop.example", &shop), ("api.shop.example", &wild)]
    {
        assert!(trust.connect(address, name).unwrap().was_shown(pair), "{name}");
    }
    let refused = |name: &str| trust.connect(address, name).err().and_then(|error| alert(&error));
    for name in ["a.api.shop.example", "none.test", "127.0.0.1"] {
        assert_eq!(refused(name), Some(AlertDescription::UnrecognisedName), "{name}");
    }
    // A default is shown to whoever asks for another name, or for none.
    proxyd.put_tls(r#"{"default_certificate":"shop"}"#);
    let shown = trust.with(|config| config.enable_sni = false).connect(address, "shop.example");
    assert!(shown.unwrap().was_shown(&shop));
    proxyd.put_tls("{}");
    assert_eq!(proxyd.control("DELETE", "/certificates/wild", "", "").status, 204);
    assert_eq!(refused("api.shop.example"), Some(AlertDescription::UnrecognisedName));
    assert_eq!(proxyd.control("DELETE", "/certificates/wild", "", "").status, 404);
}

#[test]
fn o21_a_certificate_comes_and_goes_with_other_changes_as_one() {
    let site = Site::start(Backend::saying("ok"), &[]);
    let (proxyd, authority) = (&site.proxyd, &site.authority);
    let (pair, other) = (authority.pair(&["shop.example"]), authority.pair(&["other.example"]));
    let change = |certificate: serde_json::Value, hsts: u64| {
        let change = serde_json::json!({
            "routes": {"shop.example": {"service": "app"}},
            "certificates": {"shop": certificate},
            "tls": {"hsts": {"max_age": hsts}},
        });
        proxyd.control(
            "PATCH",
            "/config",
            "Content-Type: application/json\r\n",
            &change.to_string(),
        )
    };
    let is_shown = || {
        let client = authority.trust().connect(proxyd.secure_address(), "shop.example");
        client.is_ok_and(|client| client.was_shown(&pair))
    };
    let wrong = serde_json::json!({"chain": pair.chain, "key": other.key});
    let refused = change(wrong, 1);
    assert!(
        refused.error().message.contains("certificates.shop: `key` is not the key of"),
        "{refused:?}"
    );
    assert_eq!(
        proxyd.control("GET", "/routes/shop.example", "", "").status,
        404,
        "nothing of it is done"
    );
    let good = serde_json::json!({"chain": pair.chain, "key": pair.key});
    assert_eq!(change(good, 7).status, 204);
    assert!(is_shown());
    let mut client = authority.trust().connect(proxyd.secure_address(), "shop.example").unwrap();
    let told = client.get("shop.example", "/").field("strict-transport-security");
    assert_eq!(told.as_deref(), Some("max-age=7"));
    let state = proxyd.state();
    let view = &state.certificates["shop"];
    assert_eq!((view.chain_fingerprint.len(), view.issuer.as_str()), (64, "CN=test authority"));
    assert_eq!(change(serde_json::Value::Null, 7).status, 204);
    assert!(!is_shown());
}

#[test]
fn o21_what_targets_and_clients_are_told() {
    let backend = Backend::start(|seen, out| {
        let more =
            if seen.target == "/own" { "Strict-Transport-Security: max-age=1\r\n" } else { "" };
        write!(out, "HTTP/1.1 200 OK\r\n{more}Content-Length: 2\r\n\r\nok")?;
        Ok(true)
    });
    let site = Site::start(backend, &[]);
    let (proxyd, backend) = (&site.proxyd, &site.backend);
    let answer = site.client().get("app.test", "/own");
    assert_eq!(answer.field("strict-transport-security").unwrap(), "max-age=1");
    proxyd.put_tls(r#"{"hsts":{"max_age":600,"subdomains":true}}"#);
    for front in ["{}", r#"{"trusted":["10.0.0.0/8"],"forwarded":true,"request_id":"X-Id"}"#] {
        proxyd.put_front(front);
        for target in ["/", "/own"] {
            let mut client = site.client();
            client.send(format!(
                "GET {target} HTTP/1.1\r\nHost: app.test\r\nX-Forwarded-Proto: http\r\n\
                 X-Forwarded-Client-Cert: Hash=1\r\n\r\n"
            ));
            let hsts = client.answer().field("strict-transport-security");
            assert_eq!(hsts.as_deref(), Some("max-age=600; includeSubDomains"));
            let seen = backend.seen().pop().unwrap();
            assert_eq!(seen.field("x-forwarded-proto").as_deref(), Some("https"));
            assert_eq!(seen.field("x-forwarded-client-cert"), None);
            let forwarded = seen.field("forwarded");
            assert!(forwarded.is_none_or(|told| told.ends_with(";proto=https")));
        }
        // Answers of proxyd's own have it, too; those without TLS never.
        let answer = site.client().get("none.test", "/");
        assert_eq!(
            (answer.status, answer.field("strict-transport-security").is_some()),
            (404, true)
        );
        let plain = proxyd.client().get("/");
        assert_eq!((plain.status, plain.field("strict-transport-security")), (200, None));
        assert_eq!(backend.seen().pop().unwrap().field("x-forwarded-proto").unwrap(), "http");
    }
}

#[test]
fn o21_a_route_tells_of_https_otherwise_than_all() {
    let backend = Backend::start(|_, out| {
        let own = "Strict-Transport-Security: max-age=1";
        write!(out, "HTTP/1.1 200 OK\r\n{own}\r\nContent-Length: 2\r\n\r\nok")?;
        Ok(true)
    });
    let site = Site::start(backend, &[]);
    let told = |client: &mut SecureClient, target: &str| {
        client.get("app.test", target).field("strict-transport-security")
    };
    let route = |service: &str, hsts: &str| {
        let route = format!(r#"{{"service":"{service}","hsts":{hsts}}}"#);
        site.proxyd.put(&format!("/routes/app.test/{service}"), &route)
    };
    for all in ["{}", r#"{"hsts":{"max_age":600}}"#] {
        site.proxyd.put_tls(all);
        let hsts = r#"{"max_age":31536000,"subdomains":true,"preload":true}"#;
        for service in ["app", "nobody"] {
            assert!(matches!(route(service, hsts).status, 200 | 201));
        }
        let mut client = site.client();
        let long = "max-age=31536000; includeSubDomains; preload";
        // Answers of the app and of proxyd's own, and on the same connection other routes.
        for target in ["/app", "/nobody", "/app"] {
            assert_eq!(told(&mut client, target).as_deref(), Some(long), "{target} {all}");
        }
        let other = if all == "{}" { "max-age=1" } else { "max-age=600" };
        assert_eq!(told(&mut client, "/").as_deref(), Some(other), "{all}");
        assert!(matches!(route("app", r#"{"max_age":0}"#).status, 200 | 201));
        assert_eq!(told(&mut client, "/app").as_deref(), Some("max-age=0"), "{all}");
        let plain = site.proxyd.client().get("/nobody");
        assert_eq!((plain.status, plain.field("strict-transport-security")), (503, None));
    }
    let refused = route("app", r#"{"max_age":1,"preload":true}"#);
    assert!(refused.error().message.contains("hsts.preload needs"), "{refused:?}");
}

#[test]
fn o17_who_asks_for_one_of_many_hosts_stays_there() {
    let site = Site::start(Backend::saying("ok"), &[]);
    let route = r#"{"service":"app","redirect":{"to":"https://*:8443","unless_https":true}}"#;
    assert_eq!(site.proxyd.put("/routes/*.many.test", route).status, 201);
    let location = |host: &str| {
        let mut client = site.proxyd.client();
        client.send(format!("GET /a?b=c HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let answer = client.answer();
        (answer.status, answer.field("location").unwrap_or_default())
    };
    for (host, place) in [
        ("a.many.test", "https://a.many.test:8443/a?b=c"),
        ("A.b.many.test.:80", "https://a.b.many.test:8443/a?b=c"),
    ] {
        assert_eq!(location(host), (308, place.to_owned()));
    }
    for odd in ["evil.example/.many.test", "u@a.many.test", "a\\b.many.test", "a..many.test"] {
        assert_eq!(location(odd), (400, String::new()), "{odd}");
    }
}

#[test]
fn o17_clients_without_tls_are_sent_to_it() {
    let site = Site::start(Backend::saying("ok"), &[]);
    let route = r#"{"service":"app","redirect":{"to":"https://app.test","unless_https":true}}"#;
    assert_eq!(site.proxyd.put("/routes/app.test", route).status, 200);
    let answer = site.proxyd.client().get("/a?b=c");
    assert_eq!(
        (answer.status, answer.field("location").unwrap().as_str()),
        (308, "https://app.test/a?b=c")
    );
    assert_eq!(site.client().get("app.test", "/a?b=c").text(), "ok");
}

/// So many bytes, of which no two kilobytes are alike.
fn filler(size: usize) -> Vec<u8> {
    let mut bytes = noise(7, size.min(20_011)).repeat(size / 20_011 + 1);
    bytes.truncate(size);
    bytes
}

#[test]
fn o21_bodies_of_any_size_in_both_versions() {
    let backend = Backend::start(|seen, out| {
        let sum = checksum(&seen.body);
        let size: usize = seen.target[1..].parse().unwrap();
        let body = filler(size);
        write!(out, "HTTP/1.1 200 OK\r\nX-Sum: {sum}\r\nContent-Length: {size}\r\n\r\n")?;
        out.write_all(&body)?;
        Ok(true)
    });
    let site = Site::start(backend, &[]);
    for version in [&TLS12, &TLS13] {
        let trust = Trust::new(&site.authority, None, &[version]);
        let mut client = trust.connect(site.proxyd.secure_address(), "app.test").unwrap();
        for size in [0, 1, 16_000, 16_384, 70_000, 1_000_000] {
            let body = filler(size);
            client.send(format!(
                "PUT /{size} HTTP/1.1\r\nHost: app.test\r\nContent-Length: {size}\r\n\r\n"
            ));
            client.send(&body);
            let answer = client.answer();
            assert_eq!(answer.field("x-sum").unwrap(), checksum(&body).to_string());
            assert!(answer.body == body, "{size} bytes of {version:?}");
        }
        // Several requests in one record.
        client.send("GET /3 HTTP/1.1\r\nHost: app.test\r\n\r\n".repeat(20));
        for _ in 0..20 {
            assert_eq!(client.answer().body, filler(3));
        }
        client.send("GET /3 HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n");
        client.answer();
        assert!(client.is_ended_well(), "a close is told from a cut");
    }
    // Byte by byte, each in a record of its own.
    let mut client = site.client();
    for byte in b"PUT /5 HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\n\r\nhello" {
        client.send([*byte]);
    }
    assert_eq!(client.answer().body, filler(5));
    // A client that reads late gets all of it.
    let mut late = site.client();
    late.send("GET /12000000 HTTP/1.1\r\nHost: app.test\r\n\r\n");
    thread::sleep(Duration::from_millis(100));
    assert!(late.answer().body == filler(12_000_000));
}

#[test]
fn o21_a_cut_answer_is_told_from_a_whole_one() {
    let backend = Backend::start(|_, out| {
        out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")?;
        Ok(false)
    });
    let site = Site::start(backend, &[]);
    let mut client = site.client();
    client.send("GET / HTTP/1.0\r\nHost: app.test\r\n\r\n");
    assert!(client.try_answer().is_err() && !client.is_ended_well());
}

#[test]
fn o21_other_protocols_go_through() {
    let backend = Backend::raw(|mut connection| {
        if connection.request().is_none() {
            return;
        }
        let head =
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
        connection.stream.write_all(head).unwrap();
        let mut bytes = vec![0; 1 << 20];
        while let Ok(count @ 1..) = connection.stream.read(&mut bytes) {
            connection.stream.write_all(&bytes[..count]).unwrap();
        }
    });
    let site = Site::start(backend, &[]);
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    assert_eq!(client.answer().status, 101);
    // More at once than anything is copied for where there is no TLS.
    for size in [1, 1_000, 300_000, 300_000, 5] {
        let sent = noise(1, size);
        let mut heard = vec![0; size];
        let SecureClient { stream, .. } = &mut client;
        let mut at = 0;
        for piece in sent.chunks(100_000) {
            stream.write_all(piece).unwrap();
            stream.flush().unwrap();
            stream.read_exact(&mut heard[at..at + piece.len()]).unwrap();
            at += piece.len();
        }
        assert!(heard == sent);
    }
    client.stream.conn.send_close_notify();
    let _ = client.stream.flush();
    client.stream.sock.shutdown(Shutdown::Write).unwrap();
    assert!(client.is_ended_well());
}

#[test]
fn o21_certificates_change_under_load_with_0_errors() {
    let site = Site::start(Backend::saying("ok"), &[]);
    let (proxyd, trust) = (&site.proxyd, site.authority.trust());
    let address = proxyd.secure_address();
    let pairs =
        [site.authority.pair(&["app.test"]), site.authority.pair_until(&["app.test"], 2098)];
    let (done, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut early = site.client();
    assert_eq!(early.get("app.test", "/").text(), "ok");
    thread::scope(|scope| {
        let loads: Vec<_> = (0..3)
            .map(|number| {
                let (trust, done, served) = (trust.clone(), &done, &served);
                scope.spawn(move || {
                    // Some resume, some do not, one stays.
                    let trust = if number == 0 { trust.forgetful() } else { trust };
                    let mut kept = trust.connect(address, "app.test").unwrap();
                    while !done.load(Ordering::Relaxed) {
                        let mut new = trust.connect(address, "app.test").unwrap();
                        assert_eq!(new.get("app.test", "/").text(), "ok");
                        assert_eq!(kept.get("app.test", "/").text(), "ok");
                        served.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for turn in 0..30 {
            let pair = &pairs[turn % 2];
            proxyd.put_certificate("app", pair);
            let shown = trust.forgetful().connect(address, "app.test").unwrap();
            assert!(shown.was_shown(pair), "it is what the answer said");
        }
        done.store(true, Ordering::Relaxed);
        for load in loads {
            load.join().unwrap();
        }
    });
    assert!(served.load(Ordering::Relaxed) > 10);
    assert_eq!(early.get("app.test", "/").text(), "ok", "and who was there is there");
}

#[test]
fn o21_ten_thousand_names() {
    let site = Site::start(Backend::saying("ok"), &[]);
    let mut certificates = serde_json::Map::new();
    let mut pairs = Vec::new();
    for certificate in 0..50 {
        let names: Vec<String> =
            (0..200).map(|name| format!("n{name}.c{certificate}.test")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let pair = site.authority.pair(&names);
        certificates.insert(format!("c{certificate}"), serde_json::from_str(&pair.json()).unwrap());
        pairs.push(pair);
    }
    let config = serde_json::json!({ "certificates": certificates }).to_string();
    let answer = site.proxyd.put("/config", &config);
    assert_eq!(answer.status, 204, "{answer:?}");
    let trust = site.authority.trust();
    for (certificate, name) in [(0, 0), (17, 199), (49, 100)] {
        let name = format!("n{name}.c{certificate}.test");
        let shown = trust.connect(site.proxyd.secure_address(), &name).unwrap();
        assert!(shown.was_shown(&pairs[certificate]), "{name}");
    }
}

#[test]
fn o21_sessions_are_resumed_across_generations() {
    let (old, new) =
        (Site::start(Backend::saying("old"), &[]), Site::start(Backend::saying("new"), &[]));
    let secret = r#"{"secret":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=","since":SINCE}"#;
    let since = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let secret = secret.replace("SINCE", &since.to_string());
    let pair = old.authority.pair(&["app.test"]);
    for site in [&old, &new] {
        site.proxyd.put_certificate("app", &pair);
    }
    for version in [&TLS12, &TLS13] {
        let trust = Trust::new(&old.authority, None, &[version]);
        let ask = |site: &Site| {
            let mut client = trust.connect(site.proxyd.secure_address(), "app.test").unwrap();
            client.get("app.test", "/");
            client.is_resumed()
        };
        assert!(!ask(&old));
        // Whichever worker it meets.
        for _ in 0..8 {
            assert!(ask(&old), "by the same, {version:?}");
        }
        if version == &TLS12 {
            assert!(!ask(&new), "their keys are not the same yet");
            for site in [&old, &new] {
                assert_eq!(site.proxyd.put("/tickets", &secret).status, 204);
            }
            assert_eq!(old.proxyd.state().tickets, new.proxyd.state().tickets);
            let _ = ask(&old);
        }
        assert!(ask(&new), "by the other, {version:?}");
    }
    let bad = r#"{"secret":"c2hvcnQ=","since":1}"#;
    let answer = old.proxyd.put("/tickets", bad);
    assert_eq!((answer.status, answer.error().error.as_str()), (400, "bad_tickets"));
}

#[test]
fn o21_a_snapshot_has_keys_and_nothing_else_shows_them() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.json");
    let args = ["--state", state.to_str().unwrap()];
    let mut site = Site::start(Backend::saying("ok"), &args);
    let pair = site.authority.pair(&["app.test"]);
    site.proxyd.put_certificate("app", &pair);
    let trust = site.authority.trust();
    let ask = |proxyd: &Proxyd| {
        let mut client = trust.connect(proxyd.secure_address(), "app.test").unwrap();
        client.get("app.test", "/");
        client.is_resumed()
    };
    assert!(!ask(&site.proxyd));
    let secret = pair.key.lines().nth(1).unwrap();
    for path in ["/certificates/app", "/config", "/state", "/metrics", "/status", "/tls"] {
        let answer = site.proxyd.control("GET", path, "", "");
        assert_eq!(answer.status, 200, "{path}");
        assert!(!answer.text().contains(secret), "{path}");
    }
    // What is shown is taken again, and the key that is there goes on with it.
    let shown = site.proxyd.control("GET", "/config", "", "").text();
    let generation = site.proxyd.state().generation;
    assert_eq!(site.proxyd.put("/config", &shown).status, 204);
    assert_eq!(site.proxyd.state().generation, generation);
    site.proxyd.signal(Signal::SIGTERM);
    site.proxyd.wait();
    assert!(!site.proxyd.stderr().contains(secret) && !site.proxyd.access_log().contains(secret));
    assert!(std::fs::read_to_string(&state).unwrap().contains(secret));
    assert_eq!(std::fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o600);
    let next = Proxyd::start_secure(&args);
    assert!(ask(&next), "it has the certificates, and takes the tickets");
}

#[test]
fn o21_bad_pairs_are_refused_and_change_nothing() {
    let site = Site::start(Backend::saying("ok"), &[]);
    let (good, other) = (site.authority.pair(&["app.test"]), site.authority.pair(&["app.test"]));
    site.proxyd.put_certificate("app", &good);
    let generation = site.proxyd.state().generation;
    let mixed = Pair { chain: good.chain.clone(), key: other.key.clone() };
    let expired = site.authority.pair_until(&["app.test"], 2020);
    for (body, part) in [
        (mixed.json(), "`key` is not the key of `app.test`"),
        (expired.json(), "has expired on 2020-01-01"),
        ("{}".to_owned(), "write one of the two pairs"),
        (r#"{"chain_file":"/none","key_file":"/none"}"#.to_owned(), "which cannot be read"),
    ] {
        let answer = site.proxyd.put("/certificates/app", &body);
        assert_eq!((answer.status, answer.error().error.as_str()), (400, "bad_certificate"));
        assert!(answer.error().message.contains(part), "{}", answer.text());
        assert!(!answer.text().contains(mixed.key.lines().nth(1).unwrap()));
    }
    assert_eq!(site.proxyd.state().generation, generation);
    let shown = site.authority.trust().connect(site.proxyd.secure_address(), "app.test").unwrap();
    assert!(shown.was_shown(&good));
    // As a file, with all that is wrong and where.
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("chain.pem", &good.chain);
    write("key.pem", &other.key);
    let at = folder.path().display();
    write(
        "proxyd.toml",
        &format!(
            "[tls]\nhandshake_ms = 0\ndefault_certificate = \"ap\"\n\n[certificates.app]\n\
             chain_file = \"{at}/chain.pem\"\nkey_file = \"{at}/key.pem\"\n"
        ),
    );
    let check = Command::new(jobinit_tests::proxyd::binary("proxyd"))
        .arg("check")
        .arg(folder.path().join("proxyd.toml"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&check.stderr).into_owned();
    for part in [
        "proxyd.toml:2:16: tls: `handshake_ms` is 0",
        "proxyd.toml:3:23: tls: default_certificate: there is no certificate `ap`: did you mean `app`?",
        "certificates.app: `key` is not the key of `app.test`",
    ] {
        assert!(said.contains(part), "{said}\n{part}");
    }
}

#[test]
fn o21_clients_show_certificates_of_their_own() {
    let site = Site::start(Backend::saying("ok"), &[]);
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let address = site.proxyd.secure_address();
    let trust = |pair: Option<&Pair>, version| Trust::new(&site.authority, pair, &[version]);
    let own = ours.client("worker \"7\"");
    let ask = |trust: &Trust| {
        let mut client = trust.connect(address, "app.test")?;
        client.try_send(
            "GET / HTTP/1.1\r\nHost: app.test\r\nX-Forwarded-Client-Cert: Hash=x\r\n\r\n",
        )?;
        client.try_answer().map(|answer| assert_eq!(answer.text(), "ok"))?;
        Ok::<_, std::io::Error>(client.is_resumed())
    };
    let told = || site.backend.seen().pop().unwrap().field("x-forwarded-client-cert");
    for version in [&TLS12, &TLS13] {
        site.proxyd.put_tls("{}");
        let nobody = trust(None, version);
        assert!(!ask(&nobody).unwrap() && told().is_none());
        let tls = |auth: &str| {
            serde_json::json!({ "client_ca": ours.pem(), "client_auth": auth }).to_string()
        };
        site.proxyd.put_tls(&tls("required"));
        // A ticket from before they were asked is worth nothing.
        assert!(ask(&nobody).is_err());
        assert!(ask(&trust(Some(&theirs.client("x")), version)).is_err());
        let known = trust(Some(&own), version);
        for resumed in [false, true] {
            assert_eq!(ask(&known).unwrap(), resumed);
            let told = told().unwrap();
            assert!(
                told.starts_with("Hash=") && told.ends_with(r#";Subject="CN=worker \"7\"""#),
                "{told}"
            );
        }
        site.proxyd.put_tls(&tls("optional"));
        assert!(!ask(&nobody).unwrap() && told().is_none());
        assert!(ask(&trust(Some(&theirs.client("x")), version)).is_err());
        assert!(!ask(&known).unwrap(), "other settings");
        assert!(told().is_some());
    }
}

#[test]
fn p10_handshakes_that_are_none() {
    let site = Site::start(Backend::saying("ok"), &[]);
    site.proxyd.put_tls(r#"{"handshake_ms":500}"#);
    let address = site.proxyd.secure_address();
    let begun = Instant::now();
    // Nothing, half a record, and one byte now and then.
    let silent = TcpStream::connect(address).unwrap();
    let mut half = TcpStream::connect(address).unwrap();
    half.write_all(b"\x16\x03\x01\x02\x00\x01\x00").unwrap();
    let mut slow = TcpStream::connect(address).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (mut slow, stop) = (slow.try_clone().unwrap(), Arc::clone(&stop));
        thread::spawn(move || {
            for byte in b"\x16\x03\x01\x02\x00".iter().chain(std::iter::repeat(&1)) {
                if stop.load(Ordering::Relaxed) || slow.write_all(&[*byte]).is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(20));
            }
        })
    };
    for garbage in [
        &b"GET / HTTP/1.1\r\nHost: app.test\r\n\r\n"[..],
        b"\0\0\0\0\0\0\0\0",
        b"\x16\x03\x01\xff\xff",
        b"\x17\x03\x03\x00\x01\x00",
        &noise(1, 200_000),
    ] {
        let mut stream = TcpStream::connect(address).unwrap();
        let _ = stream.write_all(garbage);
        let mut said = Vec::new();
        // An alert, perhaps, and the end: or a reset for what was not read.
        let _ = stream.read_to_end(&mut said);
        assert!(said.len() < 20 && !said.starts_with(b"HTTP"), "{said:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(5));
    for mut stream in [silent, half, slow.try_clone().unwrap()] {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut said = Vec::new();
        let ended = stream.read_to_end(&mut said);
        assert!(said.is_empty() && ended.is_ok() | begun.elapsed().gt(&Duration::from_millis(400)));
    }
    stop.store(true, Ordering::Relaxed);
    let _ = slow.flush();
    writer.join().unwrap();
    assert_eq!(site.client().get("app.test", "/").text(), "ok");
    // One address has only so many places, in handshakes, too, and these stay.
    site.proxyd.put_tls(r#"{"handshake_ms":60000}"#);
    site.proxyd.put_front(r#"{"connections_per_client":2}"#);
    let mut held = vec![TcpStream::connect(address).unwrap(), TcpStream::connect(address).unwrap()];
    // Which two have the places is up to the workers.
    let mut third = wait_for("the places to be taken", || {
        let mut third = TcpStream::connect(address).unwrap();
        third.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let is_refused = matches!(third.read(&mut [0]), Ok(0));
        if !is_refused {
            held.push(third.try_clone().unwrap());
        }
        is_refused.then_some(third)
    });
    assert!(matches!(third.read(&mut [0]), Ok(0)), "without a word that nobody would understand");
    drop(held);
}

#[test]
fn o21_a_proxy_header_comes_before_the_handshake() {
    let site = Site::start(Backend::saying("ok"), &[]);
    site.proxyd.put_front(r#"{"proxy_protocol":["127.0.0.1"]}"#);
    let mut stream = TcpStream::connect(site.proxyd.secure_address()).unwrap();
    stream.write_all(b"PROXY TCP4 9.8.7.6 127.0.0.1 4711 443\r\n").unwrap();
    let mut client = site.authority.trust().over(stream, "app.test").unwrap();
    assert_eq!(client.get("app.test", "/").text(), "ok");
    assert_eq!(site.backend.seen().pop().unwrap().field("x-forwarded-for").unwrap(), "9.8.7.6");
}

#[test]
fn o21_other_people_s_clients() {
    let site = Site::start(Backend::saying("ok"), &[]);
    let address = site.proxyd.secure_address();
    let authority = site.proxyd.folder.path().join("authority.pem");
    std::fs::write(&authority, site.authority.pem()).unwrap();
    for version in ["--tls-max 1.2", "--tlsv1.3"] {
        let output = Command::new("curl")
            .args([
                "-s",
                "-m",
                "10",
                "--resolve",
                &format!("app.test:{}:127.0.0.1", address.port()),
            ])
            .arg("--cacert")
            .arg(&authority)
            .args(version.split(' '))
            .arg(format!("https://app.test:{}/", address.port()))
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "ok", "{version}: {output:?}");
    }
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &address.to_string(), "-servername", "app.test", "-brief"])
        .args(["-verify_return_error", "-verify_hostname", "app.test", "-CAfile"])
        .arg(&authority)
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("Protocol version: TLSv1.3") && said.contains("Verification: OK"),
        "{said}"
    );
}

#[test]
fn o21_files_are_taken_over_whoever_else_writes_beside_them() {
    let site = Site::start(Backend::saying("ok"), &[]);
    let (proxyd, trust) = (&site.proxyd, site.authority.trust().forgetful());
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let [old, new] = [2098, 2097].map(|year| site.authority.pair_until(&["f.test"], year));
    let write = |pair: &Pair| {
        std::fs::write(path("chain.pem"), &pair.chain).unwrap();
        std::fs::write(path("key.pem"), &pair.key).unwrap();
    };
    write(&old);
    let body = serde_json::json!({ "chain_file": path("chain.pem"), "key_file": path("key.pem") });
    assert_eq!(proxyd.put("/certificates/f", &body.to_string()).status, 201);
    let shows = |pair: &Pair| {
        let shown = trust.connect(proxyd.secure_address(), "f.test").unwrap();
        shown.was_shown(pair).then_some(())
    };
    wait_for("the old one", || shows(&old));
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                std::fs::write(path("log"), "a line\n").unwrap();
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        write(&new);
        let taken = std::panic::catch_unwind(AssertUnwindSafe(|| {
            wait_for("the new one", || shows(&new));
        }));
        is_over.store(true, Ordering::Relaxed);
        taken.unwrap();
    });
}

#[test]
fn o21_files_are_taken_over_once_they_are_of_one_piece() {
    let site = Site::start(Backend::saying("ok"), &[]);
    let (proxyd, trust) = (&site.proxyd, site.authority.trust().forgetful());
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let [old, new, last] =
        [2098, 2097, 2096].map(|year| site.authority.pair_until(&["f.test"], year));
    let replace = |name: &str, text: &str| {
        std::fs::write(path("new"), text).unwrap();
        std::fs::rename(path("new"), path(name)).unwrap();
    };
    replace("chain.pem", &old.chain);
    replace("key.pem", &old.key);
    let body = serde_json::json!({ "chain_file": path("chain.pem"), "key_file": path("key.pem") });
    assert_eq!(proxyd.put("/certificates/f", &body.to_string()).status, 201);
    let shows = |pair: &Pair| {
        let shown = trust.connect(proxyd.secure_address(), "f.test").unwrap();
        shown.was_shown(pair).then_some(())
    };
    wait_for("the old one", || shows(&old));
    // Half of a renewal.
    replace("chain.pem", &new.chain);
    wait_for("a word about it", || {
        proxyd.stderr().contains("`key` is not the key of `f.test`").then_some(())
    });
    shows(&old).expect("it is kept");
    replace("key.pem", &new.key);
    wait_for("the new one", || shows(&new));
    // Written in place, as well.
    std::fs::write(path("chain.pem"), &last.chain).unwrap();
    std::fs::write(path("key.pem"), &last.key).unwrap();
    wait_for("the last one", || shows(&last));
    wait_for("a word about that", || {
        let said = proxyd.stderr();
        let taken = "the certificate f is taken over from its files, and valid until 2096-01-01";
        said.contains(taken).then_some(())
    });
    assert!(!proxyd.stderr().contains(last.key.lines().nth(1).unwrap()));
}
