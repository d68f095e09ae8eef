//! Certificates that nobody has to see to: a host in an app's file, and an authority in bootctl.toml.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use jobinit_tests::bootctl::Site;
use jobinit_tests::proxyd::pebble::{Manner, Pebble, TOOLS};
use jobinit_tests::tools;
use jobinit_tests::wait;
use serde_json::Value;
use tempfile::TempDir;

use crate::bootctl_apps::answers;

/// An authority, and what a site has to know of it.
struct Surroundings {
    pebble: Pebble,
    /// Whoever the proxy runs as may read here.
    folder: TempDir,
}

impl Surroundings {
    fn new(manner: &Manner<'_>) -> Self {
        let (pebble, folder) = (Pebble::with(manner), tempfile::tempdir().expect("a folder"));
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("ours");
        Self { pebble, folder }
    }

    /// bootctl.toml, with more of `[acme]` and below it.
    fn main(&self, acme: &str) -> String {
        let root = self.path("root.pem");
        fs::copy(self.pebble.root_file(), &root).expect("copied");
        fs::set_permissions(&root, fs::Permissions::from_mode(0o644)).expect("ours");
        format!(
            "[proxy.tls]\nlisten = \"{}\"\n[acme.authority.pebble]\ndirectory = \"{}\"\nroot = \"{}\"\n\
             [acme]\nemail = \"ops@shop.example\"\nca = [\"pebble\"]\npreflight = false\n{acme}",
            self.https(),
            self.pebble.directory(),
            root.display()
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn http(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.pebble.http).into()
    }

    fn https(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.pebble.tls).into()
    }

    #[track_caller]
    fn get(&self, host: &str) -> u16 {
        let client = self.pebble.trust().connect(self.https(), host);
        client.expect("a connection that is believed").get(host, "/").status
    }

    fn made(&self) -> usize {
        self.pebble.count("Issued certificate serial")
    }
}

#[track_caller]
fn certificate(site: &Site, name: &str) -> Value {
    let status = site.status();
    let all = status["certificates"].as_array().cloned().unwrap_or_default();
    all.into_iter().find(|view| view["name"] == name).unwrap_or_default()
}

#[track_caller]
fn wait_for_certificate(site: &Site, name: &str) -> Value {
    wait::until("a certificate", || {
        Some(certificate(site, name)).filter(|view| view["state"] == "valid")
    })
}

#[test]
fn o22_a_new_host_has_https_within_seconds_and_nothing_else_is_to_be_done() {
    if !tools::present(&TOOLS) {
        return;
    }
    let around = Surroundings::new(&Manner::default());
    let site = Site::boot_at(around.http(), &[("b.toml", &answers(1, ""))], &around.main(""));
    site.wait_for("b", "running");
    assert_eq!(site.status()["certificates"], Value::Null, "nobody vouches for such a name");
    let more = "alias = [\"www.jobs.dev\"]\nredirect = [\"old.jobs.dev\"]\n";
    site.write("shop.jobs.dev.toml", &answers(1, more));
    site.done(&["reload"]);
    let view = wait_for_certificate(&site, "shop.jobs.dev");
    let hosts = serde_json::json!(["old.jobs.dev", "shop.jobs.dev", "www.jobs.dev"]);
    assert_eq!((&view["hosts"], &view["why"]), (&hosts, &Value::Null), "{view}");
    for host in ["shop.jobs.dev", "www.jobs.dev"] {
        assert_eq!(around.get(host), 200, "{host}");
    }
    assert_eq!(around.get("old.jobs.dev"), 308);
    wait::until("http to lead to https", || {
        (site.get("www.jobs.dev", "/").status == 308).then_some(())
    });
    let text = site.done(&["status"]);
    let line = "old.jobs.dev, shop.jobs.dev, www.jobs.dev";
    assert!(text.contains(line) && text.contains("127.0.0.1:"), "{text}");
    // What is kept is the proxy's, and nobody else's.
    let kept = fs::metadata(site.folder().join("state/acme")).expect("it is there");
    assert_eq!(kept.mode() & 0o777, 0o700);
    if nix::unistd::geteuid().is_root() {
        assert_ne!(kept.uid(), 0);
    }
    // The next generation shows it from the beginning, and so does the next bootctl's: nobody is asked again.
    let made = around.made();
    site.done(&["restart", "proxyd"]);
    assert_eq!(around.get("shop.jobs.dev"), 200);
    site.kill_supervisor();
    wait_for_certificate(&site, "shop.jobs.dev");
    assert_eq!((around.get("shop.jobs.dev"), site.get("www.jobs.dev", "/").status), (200, 308));
    assert_eq!(around.made(), made);
    // One more host is one more certificate; an app that wants none has none.
    let file = answers(1, "alias = [\"more.jobs.dev\"]\n[tls]\nredirect = false\n");
    site.write("shop.jobs.dev.toml", &file);
    site.write("b.toml", &answers(1, "alias = [\"b.jobs.dev\"]\n[tls]\nacme = false\n"));
    site.done(&["reload"]);
    wait::until("the new host to be on it", || {
        let view = certificate(&site, "shop.jobs.dev");
        (view["hosts"] == serde_json::json!(["more.jobs.dev", "shop.jobs.dev"])).then_some(())
    });
    assert_eq!(around.get("more.jobs.dev"), 200);
    assert_eq!(site.get("more.jobs.dev", "/").status, 200, "http stays as it is");
    assert_eq!(certificate(&site, "b"), Value::Null);
}

#[test]
fn o22_what_is_in_the_way_of_a_certificate_is_told_with_the_next_try() {
    if !tools::present(&TOOLS) {
        return;
    }
    let around = Surroundings::new(&Manner { refused: &["no.jobs.dev"], ..Manner::default() });
    let site =
        Site::boot_at(around.http(), &[("no.jobs.dev.toml", &answers(1, ""))], &around.main(""));
    site.wait_for("no.jobs.dev", "running");
    let view = wait::until("a failure to be told", || {
        Some(certificate(&site, "no.jobs.dev")).filter(|view| view["state"] == "missing")
    });
    let why = view["why"][0].as_str().unwrap_or_default().to_owned();
    assert!(why.contains("the certificate of no.jobs.dev was not obtained: "), "{view}");
    assert!(why.contains("; it is tried again in "), "{view}");
    assert!(site.done(&["status"]).contains("the certificate of no.jobs.dev was not obtained: "));
    assert_eq!(site.get("no.jobs.dev", "/").status, 200, "http goes on");
    assert_eq!(site.bootctl(&["reload"]).code, Some(0), "and so does everything else");
}

#[test]
fn o22_records_are_placed_by_a_job_and_taken_away() {
    if !tools::present(&TOOLS) || !tools::present(&["curl"]) {
        return;
    }
    let around = Surroundings::new(&Manner::default());
    let (hook, log) = (around.path("hook"), around.path("log"));
    let script = format!(
        "#!/bin/sh\necho \"$ACTION $RECORD $*\" >> {}\n\
         tell() {{ curl -sf -d \"$2\" http://127.0.0.1:{}/$1; }}\n\
         if [ $ACTION = remove ]; then tell clear-txt \"{{\\\"host\\\":\\\"$RECORD.\\\"}}\"; exit; fi\n\
         for value in $VALUES; do\n\
         tell set-txt \"{{\\\"host\\\":\\\"$RECORD.\\\",\\\"value\\\":\\\"$value\\\"}}\" || exit 1\ndone\n",
        log.display(),
        around.pebble.names_api()
    );
    fs::write(&hook, script).expect("written");
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).expect("ours");
    let main = around.main(&format!(
        "challenges = [\"dns-01\"]\n[acme.dns]\nexec = \"{}\"\nargs = [\"--zone\", \"dev\"]\n",
        hook.display()
    ));
    let file = answers(1, "alias = [\"www.jobs.dev\"]\n");
    let site = Site::boot_at(around.http(), &[("shop.jobs.dev.toml", &file)], &main);
    wait_for_certificate(&site, "shop.jobs.dev");
    assert_eq!(around.get("www.jobs.dev"), 200);
    let said = wait::until("the records to be gone", || {
        let said = fs::read_to_string(&log).unwrap_or_default();
        (said.matches("remove ").count() == 2).then_some(said)
    });
    for host in ["shop", "www"] {
        for action in ["add", "remove"] {
            let line = format!("{action} _acme-challenge.{host}.jobs.dev --zone dev\n");
            assert_eq!(said.matches(&line).count(), 1, "{said}");
        }
    }
    wait::until("their jobs to be gone", || {
        (!site.init.get("/jobs").body.contains("\"acme.")).then_some(())
    });
    // One that fails says why.
    fs::write(&hook, "#!/bin/sh\necho the zone is locked >&2\nexit 3\n").expect("written");
    site.write("other.jobs.dev.toml", &answers(1, ""));
    site.done(&["reload"]);
    let view = wait::until("a failure to be told", || {
        Some(certificate(&site, "other.jobs.dev")).filter(|view| view["state"] == "missing")
    });
    let why = view["why"].to_string();
    assert!(why.contains("has failed: ") && why.contains("the zone is locked"), "{why}");
}
