//! What an app's file says to the proxy: it holds at once, and touches nothing else.

use std::fs;
use std::net::{SocketAddr, TcpListener};

use jobinit_tests::bootctl::Site;
use jobinit_tests::http;
use jobinit_tests::proxyd::Client;
use jobinit_tests::wait;

use crate::bootctl_apps::{answers, kill};

/// A file of `shop.test` that says so of its site.
fn shop(more: &str) -> String {
    answers(1, more)
}

fn field(answer: &http::Answer, name: &str) -> Option<String> {
    answer.header(name).map(str::to_owned)
}

fn unused_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
    listener.local_addr().expect("it is bound")
}

#[test]
fn o17_old_hosts_lead_to_the_apps_name_with_path_and_query() {
    let site = Site::boot(&[("shop.test.toml", &shop("")), ("b.toml", &answers(1, ""))]);
    site.wait_for("shop.test", "running");
    site.wait_for("b", "running");
    let pids = (site.pids("shop.test"), site.pids("b"));
    assert_eq!(site.get("old.test", "/").status, 404);
    site.write("shop.test.toml", &shop("redirect = [\"old.test\", \"older.test\"]\n"));
    site.done(&["reload"]);
    for host in ["old.test", "older.test"] {
        let answer = site.get(host, "/a/b?c=d&e");
        let to = format!("http://shop.test:{}/a/b?c=d&e", site.proxy.port());
        assert_eq!((answer.status, field(&answer, "location")), (308, Some(to)));
    }
    site.write(
        "shop.test.toml",
        &shop("redirect = [\"old.test\"]\n[proxy]\nredirect_status = 301\n"),
    );
    site.done(&["reload"]);
    assert_eq!(site.get("old.test", "/").status, 301);
    assert_eq!(site.get("older.test", "/").status, 404, "one that is taken away is gone");
    assert_eq!(site.get("shop.test", "/").status, 200);
    assert_eq!((site.pids("shop.test"), site.pids("b")), pids, "no process is touched");
}

#[test]
fn o10_what_a_site_says_holds_at_once_and_through_the_proxys_deaths() {
    let site = Site::boot(&[("shop.test.toml", &shop("")), ("b.toml", &answers(1, ""))]);
    site.wait_for("shop.test", "running");
    site.wait_for("b", "running");
    let pids = (site.pids("shop.test"), site.pids("b"));
    let folder = site.folder().join("conf/apps");
    fs::write(folder.join("sorry.html"), "<h1>Back at noon</h1>").expect("written");
    site.write(
        "shop.test.toml",
        &shop(
            "[proxy]\nmount = [\"b/shop\"]\nstrip_prefix = true\nmax_in_flight = 5\nqueue = 10\n\
             balance = \"round-robin\"\n[proxy.response_headers]\nset = { X-Shop = \"yes\" }\n\
             [proxy.limits]\nbody = \"1K\"\n[proxy.error_pages]\n404 = \"sorry.html\"\n\
             413 = \"sorry.html\"\n",
        ),
    );
    site.done(&["reload"]);
    let check = || {
        let answer = site.get("shop.test", "/");
        assert_eq!((answer.status, field(&answer, "x-shop")), (200, Some("yes".into())));
        assert_eq!(field(&site.get("b", "/"), "x-shop"), None);
        assert!(site.get("b", "/shop/x").body.starts_with("shop.test "), "it is mounted below b");
        assert!(site.get("b", "/shopping").body.starts_with("b "));
        let large = "x".repeat(2000);
        let answer = http::request(site.proxy, "POST", "/", "Host: shop.test\r\n", &large);
        assert_eq!((answer.status, answer.body.as_str()), (413, "<h1>Back at noon</h1>"));
        let state = site.proxy_state();
        let service = &state.services["shop.test"];
        assert_eq!((service.settings.queue, service.targets.len()), (10, 1));
        assert_eq!(service.targets["shop.test.1"].max_in_flight, Some(5));
    };
    check();
    assert_eq!((site.pids("shop.test"), site.pids("b")), pids);
    site.done(&["restart", "proxyd"]);
    check();
    let pid = site.init.job(&site.proxy_job())["pid"].as_u64().expect("it runs");
    kill(pid);
    wait::until("the proxy to be ready again", || {
        let ready = site.status()["proxy"]["state"] == "ready";
        (ready && site.init.job(&site.proxy_job())["pid"].as_u64() != Some(pid)).then_some(())
    });
    check();
    // A page that is written anew is another page.
    fs::write(folder.join("sorry.html"), "later").expect("written");
    let on = "[proxy.maintenance]\non = true\npage = \"sorry.html\"\nretry_after = \"1m\"\n";
    site.write("shop.test.toml", &shop(on));
    site.done(&["reload"]);
    let answer = site.get("shop.test", "/");
    assert_eq!((answer.status, answer.body.as_str()), (503, "later"));
    assert_eq!(field(&answer, "retry-after").as_deref(), Some("60"));
    assert!(site.get("b", "/shop").body.starts_with("b "), "the mount is gone");
    site.write("shop.test.toml", &shop(""));
    site.done(&["reload"]);
    assert_eq!(site.get("shop.test", "/").status, 200);
    assert_eq!(site.proxy_state().services["shop.test"].settings, proxyd_wire::Service::default());
    assert_eq!((site.pids("shop.test"), site.pids("b")), pids, "no process was touched");
    site.remove("shop.test.toml");
    site.done(&["reload"]);
    wait::until("nothing to be left of it", || {
        (!site.proxy_state().services.contains_key("shop.test")).then_some(())
    });
}

#[test]
fn o10_a_password_and_an_address_are_asked_for() {
    let file = shop(
        "[proxy]\ndeny = [\"192.0.2.0/24\"]\n[proxy.basic_auth]\nrealm = \"Shop\"\n\
         [proxy.basic_auth.users]\n\
         ann = \"$2b$04$A7ZsY1ftrk3Ujc95d0J8UOVYF3hEix6lk0iUP2HQNFdMjsL4mmmoC\"\n",
    );
    let site = Site::boot_with(
        &[("shop.test.toml", &file)],
        "[proxy]\ntrusted = [\"127.0.0.1\"]\nrequest_id = \"X-Request-Id\"\n",
    );
    site.wait_for("shop.test", "running");
    let answer = site.get("shop.test", "/");
    assert_eq!(answer.status, 401);
    assert!(field(&answer, "www-authenticate").is_some_and(|value| value.contains("\"Shop\"")));
    let as_other = "Host: shop.test\r\nX-Forwarded-For: 192.0.2.9\r\n";
    let answer = http::request(site.proxy, "GET", "/", as_other, "");
    assert_eq!(answer.status, 403, "the word of a trusted proxy is believed");
    assert!(field(&answer, "x-request-id").is_some(), "requests are numbered");
    // `ann:secret`
    let with = "Host: shop.test\r\nAuthorization: Basic YW5uOnNlY3JldA==\r\n";
    assert_eq!(http::request(site.proxy, "GET", "/", with, "").status, 200);
}

#[test]
fn o10_what_the_proxy_refuses_is_told_and_in_nobodys_way() {
    let site = Site::boot(&[("a.toml", &answers(1, ""))]);
    site.wait_for("a", "running");
    site.write("a.toml", &answers(1, "[proxy.response_headers]\nset = { Connection = \"x\" }\n"));
    site.write("b.toml", &answers(1, ""));
    let said = site.bootctl(&["reload"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("was not told the route a:"), "{said:?}");
    site.wait_for("b", "running");
    assert_eq!(site.get("b", "/").status, 200);
    assert_eq!(site.get("a", "/").status, 200, "it goes on as before");
    assert!(site.done(&["status"]).contains("was not told the route a:"));
    site.write("a.toml", &answers(1, ""));
    site.done(&["reload"]);
    assert!(!site.done(&["status"]).contains("was not told"));
}

#[test]
fn what_is_in_the_way_of_the_proxy_is_told() {
    let site = Site::boot(&[]);
    let taken = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
    let monitor = taken.local_addr().expect("it is bound");
    let file = site.folder().join("conf/bootctl.toml");
    let text = fs::read_to_string(&file).expect("there");
    fs::write(&file, format!("{text}[proxy]\nmonitor = \"{monitor}\"\n")).expect("written");
    let said = site.bootctl(&["reload"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("EADDRINUSE") && said.err.contains(&monitor.to_string()), "{said:?}");
}

#[test]
fn o20_the_access_log_and_the_monitor_are_where_the_file_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("access.log");
    fs::write(&log, "").expect("written");
    let open = std::os::unix::fs::PermissionsExt::from_mode;
    fs::set_permissions(folder.path(), open(0o755)).expect("it is ours");
    fs::set_permissions(&log, open(0o666)).expect("it is ours");
    let monitor = unused_address();
    let table = format!(
        "[proxy]\naccess_log = \"{}\"\naccess_log_format = \"json\"\nmonitor = \"{monitor}\"\n",
        log.display()
    );
    let site = Site::boot_with(&[("a.toml", &answers(1, "[env]\nSLOW_MS = \"20000\"\n"))], &table);
    site.wait_for("a", "running");
    assert_eq!(site.get("a", "/seen").status, 200);
    let line = wait::until("the line to be written", || {
        let text = fs::read_to_string(&log).expect("it is there");
        text.lines().find(|line| line.contains("/seen")).map(str::to_owned)
    });
    assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok(), "{line}");
    let metrics = http::request(monitor, "GET", "/metrics", "Host: x\r\n", "");
    assert!(metrics.body.contains("proxyd_requests_total"), "{metrics:?}");
    let mut busy = Client::connect(site.proxy);
    busy.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    wait::until("the request to be in flight", || {
        let state = site.proxy_state();
        (state.services["a"].targets["a.1"].in_flight > 0).then_some(())
    });
    site.done(&["restart", "proxyd"]);
    // A request keeps the old one from ending; only the new one answers here all the same.
    let ready = || http::request(monitor, "GET", "/ready", "Host: x\r\n", "").status == 200;
    wait::until("the old one to give the monitor up", || (0..20).all(|_| ready()).then_some(()));
    assert_eq!(site.proxy_jobs(), ["proxyd", "proxyd.2"]);
    drop(busy);
}

#[test]
fn o10_the_proxy_takes_all_that_files_can_say_of_it() {
    let table = "[proxy]\nbody_time = \"50s\"\nwrite_time = \"50s\"\nrate_time = \"50s\"\nhead_size = \"8K\"\n\
                 head_fields = 64\nuri_size = \"1K\"\nhalf_closed = true\nlimits.rate = \"10\"\n";
    let app = answers(
        1,
        "[proxy]\nmount = [\"a/old\"]\nrewrite = \"/new\"\nreplace_errors = true\nlimits.rate = \"1\"\n\
         sticky = { cookie = \"c\", path = \"/cart\" }\npool = { idle_time = \"1s\", size = 1, requests = 2 }\n\
         retry = { budget = 1000, budget_per_second = 0 }\n\
         eject = { backoff = \"10ms\", max_backoff = \"1h\", panic = 100 }\n",
    );
    let site = Site::boot_with(&[("a.toml", &app)], table);
    site.wait_for("a", "running");
    site.done(&["reload"]);
    assert_eq!(site.get("a", "/").status, 200);
    let target = format!("/{}", "x".repeat(1500));
    assert_eq!(site.get("a", &target).status, 414, "it is the proxy's own word");
    let settings = &site.proxy_state().services["a"].settings;
    assert_eq!(
        (settings.pool.size, settings.eject.panic, settings.retry.budget_percent),
        (1, 100, 1000)
    );
}
