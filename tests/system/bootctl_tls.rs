//! HTTPS as an administrator has it: files named in an app's file, shown, followed, and told of.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jobinit_tests::bootctl::{Site, unused_address};
use jobinit_tests::init::is_alive;
use jobinit_tests::keys::Keys;
use jobinit_tests::proxyd::{Authority, Trust, alert};
use jobinit_tests::wait;
use rustls::AlertDescription;
use rustls::version::{TLS12, TLS13};
use serde_json::Value;

use crate::bootctl_apps::{answers, kill};

/// An app with a certificate.
fn app(keys: &Keys, name: &str, more: &str) -> String {
    answers(1, &format!("{more}[tls]\n{}", keys.named(name)))
}

/// What bootctl.toml says of the proxy, and where it listens for TLS.
fn listening(more: &str) -> (SocketAddr, String) {
    let address = unused_address();
    (address, format!("[proxy.tls]\nlisten = \"{address}\"\n{more}"))
}

#[track_caller]
fn certificate(site: &Site, name: &str) -> Value {
    let status = site.status();
    let all = status["certificates"].as_array().cloned().unwrap_or_default();
    all.into_iter().find(|view| view["name"] == name).unwrap_or_default()
}

/// What is to be done about a certificate.
#[track_caller]
fn why(site: &Site, name: &str) -> String {
    let view = certificate(site, name);
    let all = view["why"].as_array().cloned().unwrap_or_default();
    all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
}

#[test]
fn o21_a_certificate_that_an_app_names_is_shown_and_followed() {
    let keys = Keys::default();
    let first = keys.make("shop", &["shop.test", "*.shop.test"]);
    let (at, table) = listening("");
    let file = app(&keys, "shop", "alias = [\"www.shop.test\", \"other.test\"]\n");
    let site = Site::boot_with(&[("shop.test.toml", &file), ("b.toml", &answers(1, ""))], &table);
    site.wait_for("shop.test", "running");
    site.wait_for("b", "running");
    for host in ["shop.test", "www.shop.test"] {
        let mut client = keys.client(at, host);
        assert!(client.was_shown(&first), "{host}");
        assert!(client.get(host, "/").text().starts_with("shop.test "), "{host}");
        // Who comes by http is sent there, with all that he has asked for.
        let answer = site.get(host, "/a/b?c=d&e");
        let to = format!("https://{host}:{}/a/b?c=d&e", at.port());
        assert_eq!((answer.status, answer.header("location")), (308, Some(&*to)));
    }
    assert_eq!(site.get("other.test", "/").status, 200, "there is no certificate for it");
    assert_eq!(site.get("b", "/").status, 200);
    let refused = keys.authority.trust().connect(at, "other.test").err();
    assert_eq!(refused.and_then(|error| alert(&error)), Some(AlertDescription::UnrecognisedName));

    // Nobody is told that the files are others now.
    let pids = (site.pids("shop.test"), site.init.job(&site.proxy_job())["pid"].clone());
    let second = keys.make("shop", &["shop.test", "www.shop.test", "other.test"]);
    keys.wait_until_shown(at, "other.test", &second);
    wait::until("http to lead to https", || {
        (site.get("other.test", "/").status == 308).then_some(())
    });
    let view = certificate(&site, "shop.test");
    assert_eq!(view["state"], "valid", "{view}");
    assert_eq!(view["hosts"], serde_json::json!(["shop.test", "www.shop.test", "other.test"]));
    assert_eq!(view["issuer"], "test authority", "{view}");
    let text = site.done(&["status"]);
    assert!(text.contains(&format!("https on {at}: ready")), "{text}");
    assert!(text.contains("2099-01-01"), "{text}");
    let metrics = site.metrics();
    assert!(
        metrics.contains(
            "bootctl_certificate_expiry_timestamp_seconds{certificate=\"shop.test\"} 4070908800"
        ),
        "{metrics}"
    );

    // What is wrong takes nothing away, and is told.
    fs::write(keys.path("shop.key"), &keys.authority.pair(&["shop.test"]).key).expect("written");
    wait::until("what is wrong to be told", || {
        why(&site, "shop.test").contains("belongs to another certificate").then_some(())
    });
    assert!(keys.client(at, "shop.test").was_shown(&second));
    site.done(&["restart", "proxyd"]);
    assert!(keys.client(at, "shop.test").was_shown(&second), "also by the next generation");
    keys.write("shop", &second);
    wait::until("nothing to be wrong", || why(&site, "shop.test").is_empty().then_some(()));
    let after = (site.pids("shop.test"), site.init.job(&site.proxy_job())["pid"].clone());
    assert_eq!(after.0, pids.0, "no app was touched");

    // An app that names none any more has none.
    site.write("shop.test.toml", &answers(1, ""));
    let plan = site.done(&["plan"]);
    assert!(plan.contains("tls.certificate: ") && plan.contains("→ -"), "{plan}");
    site.done(&["reload"]);
    assert_eq!(site.get("shop.test", "/").status, 200);
    assert_eq!(site.status()["certificates"], Value::Null);
}

#[test]
fn o21_a_plan_tells_of_certificates_and_does_nothing() {
    let keys = Keys::default();
    let (at, table) = listening("");
    let site = Site::boot_with(&[("a.test.toml", &answers(1, ""))], &table);
    site.wait_for("a.test", "running");
    let pair = keys.make("a", &["a.test"]);
    site.write("a.test.toml", &app(&keys, "a", ""));
    let plan = site.done(&["plan"]);
    assert!(plan.contains("a.test changes, and no process is touched"), "{plan}");
    assert!(plan.contains("the certificate of a.test"), "{plan}");
    assert!(keys.authority.trust().connect(at, "a.test").is_err(), "nothing is done");
    site.done(&["reload"]);
    assert!(keys.client(at, "a.test").was_shown(&pair), "reload answers when it is shown");
    assert!(site.done(&["plan"]).contains("nothing to do"));
}

#[test]
fn o21_what_is_wrong_with_files_is_told_with_file_line_and_key() {
    let keys = Keys::default();
    keys.make("open", &["open.test"]);
    fs::set_permissions(keys.path("open.key"), fs::Permissions::from_mode(0o644)).expect("ours");
    keys.make("other", &["other.test"]);
    fs::write(keys.path("other.key"), &keys.authority.pair(&["x"]).key).expect("written");
    keys.write("old", &keys.authority.pair_until(&["old.test"], 2020));
    keys.make("away", &["elsewhere.test"]);
    let (_, table) = listening(&format!("client_ca = \"{}\"\n", keys.path("nobody").display()));
    let apps: Vec<(String, String)> = ["open", "other", "old", "away", "none"]
        .map(|name| (format!("{name}.test.toml"), app(&keys, name, "")))
        .into();
    let apps: Vec<(&str, &str)> = apps.iter().map(|(name, text)| (&**name, &**text)).collect();
    let site = Site::boot_with(&apps, &table);
    for app in ["open", "other", "old", "away", "none"] {
        site.wait_for(&format!("{app}.test"), "running");
    }
    let folder = site.folder().join("conf");
    let conf = folder.to_str().expect("UTF-8");
    let said = site.bootctl(&["check", "--config", conf]);
    assert_eq!(said.code, Some(0), "all of it may come before it is needed: {said:?}");
    let path = |file: &str| keys.path(file).display().to_string();
    for expected in [
        format!(
            "warning: {conf}/bootctl.toml:5:13: `proxy.tls.client_ca` is {}, which cannot be read: entity not found",
            path("nobody")
        ),
        format!(
            "warning: {conf}/apps/open.test.toml:5:7: `tls.key` is {}, which everybody may read",
            path("open.key")
        ),
        format!(
            "warning: {conf}/apps/other.test.toml:5:7: `tls.key` is {}, which is not the key of",
            path("other.key")
        ),
        format!(
            "warning: {conf}/apps/old.test.toml:4:15: `tls.certificate` is {}, which has expired on 2020-01-01",
            path("old.pem")
        ),
        format!(
            "warning: {conf}/apps/away.test.toml:4:15: `tls.certificate` is {}, which is not made out to away.test; it is \
             for elsewhere.test",
            path("away.pem")
        ),
        format!(
            "warning: {conf}/apps/none.test.toml:4:15: `tls.certificate` is {}, which cannot be read: entity not found",
            path("none.pem")
        ),
    ] {
        assert!(said.err.contains(&expected), "{expected}\n{}", said.err);
    }
    assert_eq!(site.bootctl(&["check", "--strict", "--config", conf]).code, Some(1));
    // Apps run all the same, and reload tells, too.
    let reloaded = site.bootctl(&["reload"]);
    assert_eq!(reloaded.code, Some(0), "{reloaded:?}");
    let told = reloaded.out + &reloaded.err;
    assert!(told.contains("which has expired on 2020-01-01"), "{told}");
    for app in ["other.test", "old.test", "none.test"] {
        assert_eq!(site.get(app, "/").status, 200, "{app}");
    }
    assert_eq!(certificate(&site, "old.test")["state"], "expired");
    assert_eq!(certificate(&site, "none.test")["state"], "missing");
}

#[test]
fn o21_the_end_of_a_certificate_is_told_two_weeks_before() {
    let keys = Keys::default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later").as_secs();
    let until = i64::try_from(now + 9 * 86_400 + 3600).expect("a time");
    keys.write("a", &keys.authority.pair_until_second(&["a.test"], until));
    let (_, table) = listening("");
    let site = Site::boot_with(&[("a.test.toml", &app(&keys, "a", ""))], &table);
    site.wait_for("a.test", "running");
    let view = certificate(&site, "a.test");
    assert_eq!((&view["state"], view["notAfter"].as_i64()), (&"expiring".into(), Some(until)));
    let text = site.done(&["status"]);
    assert!(text.contains("the certificate of a.test expires in 9 days, on "), "{text}");
}

#[test]
fn o21_one_certificate_for_all_and_who_may_come() {
    let keys = Keys::default();
    let general = keys.make("all", &["*.shop.test"]);
    let clients = Authority::new("clients");
    fs::write(keys.path("clients.pem"), clients.pem()).expect("written");
    let more = format!(
        "{}unknown_names = \"answer\"\nmin_version = \"1.3\"\nclient_ca = \"{}\"\nclient_auth = \"required\"\n\
         [proxy.tls.hsts]\nmax_age = \"1d\"\n",
        keys.named("all"),
        keys.path("clients.pem").display()
    );
    let (at, table) = listening(&more);
    let no_redirect = answers(1, "[tls]\nredirect = false\n");
    let site = Site::boot_with(
        &[("a.shop.test.toml", &answers(1, "")), ("b.shop.test.toml", &no_redirect)],
        &table,
    );
    site.wait_for("a.shop.test", "running");
    site.wait_for("b.shop.test", "running");
    let own = clients.client("ann");
    let trust = |versions: &[_]| Trust::new(&keys.authority, Some(&own), versions);
    let mut client = trust(&[&TLS13]).connect(at, "a.shop.test").expect("let in");
    assert!(client.was_shown(&general));
    let answer = client.get("a.shop.test", "/");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.field("strict-transport-security").as_deref(), Some("max-age=86400"));
    assert_eq!(
        (site.get("a.shop.test", "/").status, site.get("b.shop.test", "/").status),
        (308, 200)
    );
    let unknown = trust(&[&TLS13]).with(|config| config.enable_sni = false);
    assert!(unknown.connect(at, "a.shop.test").expect("it is answered").was_shown(&general));
    let old = trust(&[&TLS12]).connect(at, "a.shop.test").err().and_then(|error| alert(&error));
    assert_eq!(old, Some(AlertDescription::ProtocolVersion));
    let is_let_in = |trust: &Trust| {
        let client = trust.connect(at, "a.shop.test");
        client.is_ok_and(|mut client| client.try_get("a.shop.test", "/").is_ok())
    };
    assert!(!is_let_in(&keys.authority.trust()), "who shows nothing is refused");
    // Who vouches for clients is another one: that holds as soon as it is written.
    let others = Authority::new("others");
    fs::write(keys.path("clients.pem"), others.pem()).expect("written");
    let other = others.client("bob");
    let other = Trust::new(&keys.authority, Some(&other), &[&TLS13]);
    wait::until("others to be let in", || is_let_in(&other).then_some(()));
    assert!(!is_let_in(&trust(&[&TLS13]).forgetful()));
    // A proxy that does not know who vouches for clients lets nobody in, rather than everybody.
    fs::remove_file(keys.path("clients.pem")).expect("removed");
    site.kill_supervisor();
    assert!(is_let_in(&other), "what runs is left as it is");
    site.done(&["restart", "proxyd"]);
    // Until the one before hears that it is to end, it may be the one that accepts; it ends with its clients.
    drop(client);
    wait::until("the proxy before to end", || (site.proxy_jobs().len() == 1).then_some(()));
    assert!(!is_let_in(&other) && !is_let_in(&keys.authority.trust()));
    fs::write(keys.path("clients.pem"), others.pem()).expect("written");
    wait::until("others to be let in again", || is_let_in(&other).then_some(()));
    assert!(!is_let_in(&keys.authority.trust()));
}

#[test]
fn o21_an_app_s_file_says_what_browsers_are_told_of_https() {
    let keys = Keys::default();
    keys.make("all", &["a.test", "b.test"]);
    let more = format!("{}[proxy.tls.hsts]\nmax_age = \"1d\"\n", keys.named("all"));
    let (at, table) = listening(&more);
    let own = |table: &str| answers(1, &format!("[tls.hsts]\n{table}"));
    let a = own("max_age = \"365d\"\nsubdomains = true\n");
    let site = Site::boot_with(&[("a.test.toml", &a), ("b.test.toml", &answers(1, ""))], &table);
    site.wait_for("a.test", "running");
    site.wait_for("b.test", "running");
    let told = |host: &str| {
        let answer = keys.client(at, host).get(host, "/");
        (answer.status, answer.field("strict-transport-security").unwrap_or_default())
    };
    let long = "max-age=31536000; includeSubDomains".to_owned();
    assert_eq!(
        (told("a.test"), told("b.test")),
        ((200, long.clone()), (200, "max-age=86400".into()))
    );
    let plain = site.get("a.test", "/");
    assert_eq!((plain.status, plain.header("strict-transport-security")), (308, None));
    site.done(&["stop", "a.test"]);
    assert_eq!(told("a.test"), (503, long), "what the proxy says itself, too");
    site.done(&["start", "a.test"]);
    let pids = site.pids("a.test");
    site.write("a.test.toml", &own("max_age = \"0s\"\n"));
    site.done(&["reload"]);
    assert_eq!(told("a.test"), (200, "max-age=0".into()), "browsers are to forget it");
    assert_eq!(site.pids("a.test"), pids, "no process is touched");
    site.write("a.test.toml", &own("subdomains = true\n"));
    let refused = site.bootctl(&["reload"]);
    assert!(
        refused.err.contains("`tls.hsts.subdomains` has a meaning only with max_age"),
        "{refused:?}"
    );
}

#[test]
fn o16_an_app_answers_for_all_names_below_one() {
    let keys = Keys::default();
    let pair = keys.make("shop", &["shop.test", "*.shop.test"]);
    let own = keys.make("own", &["own.shop.test"]);
    let (at, table) = listening("");
    let shop = app(&keys, "shop", "alias = [\"*.shop.test\"]\nredirect = [\"*.old.test\"]\n");
    let site = Site::boot_with(
        &[("shop.test.toml", &shop), ("own.shop.test.toml", &app(&keys, "own", ""))],
        &table,
    );
    site.wait_for("shop.test", "running");
    site.wait_for("own.shop.test", "running");
    for (host, pair, name) in [
        ("shop.test", &pair, "shop.test "),
        ("ann.shop.test", &pair, "shop.test "),
        ("bob.shop.test", &pair, "shop.test "),
        ("own.shop.test", &own, "own.shop.test "),
    ] {
        let mut client = keys.client(at, host);
        assert!(client.was_shown(pair), "{host}");
        assert!(client.get(host, "/").text().starts_with(name), "{host}");
        let answer = site.get(host, "/a?b=c");
        let to = format!("https://{host}:{}/a?b=c", at.port());
        assert_eq!((answer.status, answer.header("location")), (308, Some(&*to)), "{host}");
    }
    let moved = site.get("x.old.test", "/a?b=c");
    let to = format!("https://shop.test:{}/a?b=c", at.port());
    assert_eq!((moved.status, moved.header("location")), (308, Some(&*to)));
    assert_eq!(site.get("shop.test.evil", "/").status, 404);
    assert_eq!(site.get("xshop.test", "/").status, 404);
    // Two cannot have them all.
    site.write("own.shop.test.toml", &app(&keys, "own", "alias = [\"*.shop.test\"]\n"));
    let refused = site.bootctl(&["reload"]);
    assert!(refused.err.contains("alias *.shop.test"), "{refused:?}");
    assert!(keys.client(at, "own.shop.test").was_shown(&own), "and what was there is there");
    let status = site.done(&["status", "shop.test"]);
    assert!(status.contains("*.shop.test"), "{status}");
}

#[test]
fn o14_ports_80_and_443_are_served_and_nobody_of_us_is_root() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("SKIPPED: only root may listen on ports 80 and 443");
    }
    // An address of this test's own, with all of its ports.
    let number = std::process::id().to_be_bytes();
    let address = Ipv4Addr::new(127, 1 + number[2] % 250, number[3], 1 + number[1] % 250);
    let keys = Keys::default();
    let pair = keys.make("shop", &["shop.test"]);
    let app = app(&keys, "shop", "user = \"daemon\"\n");
    let site = Site::boot_at((address, 80).into(), &[("shop.test.toml", &app)], "");
    site.wait_for("shop.test", "running");
    let answer = site.get("shop.test", "/a?b");
    let to = Some("https://shop.test/a?b");
    assert_eq!((answer.status, answer.header("location")), (308, to));
    let mut client = keys.client((address, 443).into(), "shop.test");
    assert!(client.was_shown(&pair));
    assert_eq!(client.get("shop.test", "/").status, 200);
    let proxy = site.init.job(&site.proxy_job())["pid"].as_u64().expect("it runs");
    for pid in site.pids("shop.test").into_iter().chain([proxy]) {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let ids = status.lines().find(|line| line.starts_with("Uid:")).expect("it has one");
        assert!(!ids.split_whitespace().any(|id| id == "0"), "{pid}: {ids}");
        let rights = status.lines().find(|line| line.starts_with("CapEff:")).expect("it has some");
        assert!(rights.ends_with("0000000000000000"), "{pid}: {rights}");
    }
}

#[test]
fn d01_level_1_closes_https_too() {
    let keys = Keys::default();
    keys.make("a", &["a.test"]);
    let (at, table) = listening("");
    let grace = format!("[proxy]\ngrace = \"0s\"\nstream_grace = \"0s\"\n{table}");
    let site = Site::boot_with(&[("a.test.toml", &app(&keys, "a", ""))], &grace);
    site.wait_for("a.test", "running");
    let mut live = keys.client(at, "a.test");
    assert_eq!(live.get("a.test", "/").status, 200);
    site.done(&["telinit", "1"]);
    assert!(live.try_get("a.test", "/").is_err(), "connections that live are over");
    let other = TcpListener::bind(at).expect("another server may have it");
    let failed = site.bootctl(&["telinit", "3"]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(failed.err.contains(&at.to_string()), "it tells which address is taken: {failed:?}");
    drop(other);
    site.done(&["telinit", "3"]);
    assert_eq!(keys.client(at, "a.test").get("a.test", "/").status, 200);
}

#[test]
fn o15_a_mistake_in_a_file_takes_no_certificate_away() {
    let keys = Keys::default();
    let pair = keys.make("a", &["a.test"]);
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("SKIPPED: only root may listen on ports 80 and 443");
    }
    // So that https is listened for because this app wants it, and for no other reason.
    let number = std::process::id().to_be_bytes();
    let address = Ipv4Addr::new(127, 1 + number[2] % 250, number[3], 254);
    let app = app(&keys, "a", "");
    let site = Site::boot_at((address, 80).into(), &[("a.test.toml", &app)], "");
    site.wait_for("a.test", "running");
    let at = (address, 443).into();
    let job = |site: &Site| site.init.job(&site.proxy_job())["pid"].clone();
    let (proxy, pids) = (job(&site), site.pids("a.test"));
    site.write("a.test.toml", &format!("{app}broken\n"));
    site.kill_supervisor();
    wait::until("the proxy to be known", || {
        (site.status()["proxy"]["state"] == "ready").then_some(())
    });
    assert_eq!(site.proxy_jobs().len(), 1, "no other proxy is wanted");
    let client = keys.client(at, "a.test");
    assert!(client.was_shown(&pair));
    assert_eq!((job(&site), site.pids("a.test").len()), (proxy, pids.len()));
}

#[test]
fn o21_sessions_go_on_with_the_next_generation_and_after_a_kill() {
    let keys = Keys::default();
    keys.make("a", &["a.test"]);
    let (at, table) = listening("");
    let site = Site::boot_with(&[("a.test.toml", &app(&keys, "a", ""))], &table);
    site.wait_for("a.test", "running");
    let trust = keys.authority.trust();
    let is_resumed = || {
        let mut client = trust.connect(at, "a.test").expect("a connection");
        assert_eq!(client.get("a.test", "/").status, 200);
        client.is_resumed()
    };
    assert!(!is_resumed());
    assert!(is_resumed());
    site.done(&["restart", "proxyd"]);
    assert!(is_resumed(), "the next generation knows the sessions of the one before");
    site.kill_supervisor();
    site.done(&["restart", "proxyd"]);
    assert!(is_resumed(), "and so does one that another bootctl has started");
    let secret = site.folder().join("run/tickets");
    assert_eq!(fs::metadata(&secret).expect("kept").permissions().mode() & 0o777, 0o600);
    let pid = site.init.job(&site.proxy_job())["pid"].as_u64().expect("it runs");
    kill(pid);
    wait::until("the proxy to be back", || {
        let job = site.init.job(&site.proxy_job());
        (job["pid"].as_u64() != Some(pid) && site.status()["proxy"]["state"] == "ready")
            .then_some(())
    });
    assert!(is_resumed(), "and one that was killed");
    assert!(!is_alive(pid));
}

#[test]
fn o10_https_comes_and_goes_by_config_and_refuses_nobody() {
    let keys = Keys::default();
    keys.make("a", &["a.test"]);
    let site = Site::boot(&[("a.test.toml", &app(&keys, "a", ""))]);
    site.wait_for("a.test", "running");
    let main = site.folder().join("conf/bootctl.toml");
    let plain = fs::read_to_string(&main).expect("it is there");
    let said = site.bootctl(&["reload"]);
    let told = said.out + &said.err;
    assert!(told.contains("so say where with proxy.tls.listen"), "{told}");
    assert_eq!(site.get("a.test", "/").status, 200);
    let (at, table) = listening("");
    fs::write(&main, format!("{plain}{table}")).expect("written");
    site.done(&["reload"]);
    assert_eq!(keys.client(at, "a.test").get("a.test", "/").status, 200);
    assert_eq!(site.get("a.test", "/").status, 308);
    assert!(is_open(at));
    fs::write(&main, &plain).expect("written");
    site.done(&["reload"]);
    wait::until("the old proxy to end", || (!is_open(at)).then_some(()));
    assert_eq!(site.get("a.test", "/").status, 200);
}

fn is_open(at: SocketAddr) -> bool {
    TcpStream::connect_timeout(&at, Duration::from_secs(1)).is_ok()
}

#[test]
fn o17_with_force_https_plain_http_never_reaches_an_app() {
    let keys = Keys::default();
    keys.make("a", &["elsewhere.test"]);
    let (at, table) = listening("");
    let file = answers(
        1,
        &format!("redirect = [\"old.test\"]\n[tls]\nredirect = true\n{}", keys.named("a")),
    );
    let site = Site::boot_with(&[("a.test.toml", &file)], &table);
    site.wait_for("a.test", "running");
    for host in ["a.test", "old.test"] {
        let answer = site.get(host, "/x?y");
        let to = format!("https://a.test:{}/x?y", at.port());
        assert_eq!((answer.status, answer.header("location")), (308, Some(&*to)), "{host}");
    }
}
