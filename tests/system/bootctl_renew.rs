//! `bootctl renew`: what is on the disk takes over, and no app notices.

use std::process::Command;

use jobinit_tests::binaries::program;
use jobinit_tests::bootctl::{Site, said};
use serde_json::json;

use crate::bootctl_apps::answers;

#[test]
fn i10_renew_replaces_init_and_supervisor_and_touches_no_app() {
    let site = Site::boot(&[("a.toml", &answers(2, ""))]);
    site.wait_for("a", "running");
    let (pids, proxy) = (site.pids("a"), site.init.job("proxyd")["pid"].clone());
    let (init, supervisor) = (site.init.get("/job/init").json(), site.supervisor());
    let api = site.init.api().to_string();

    let said = site.done(&["renew", "--init", &api]);
    assert!(said.contains("no app was touched"), "{said}");
    assert_ne!(site.supervisor(), supervisor);
    assert_eq!(site.pids("a"), pids);
    // Its program is the one that it was.
    assert_eq!(site.init.job("proxyd")["pid"], proxy);
    let now = site.init.get("/job/init").json();
    assert_eq!((&now["pid"], &now["crashes"]), (&init["pid"], &json!(0)));

    // With a config that the next supervisor could not read, nothing is done.
    let supervisor = site.supervisor();
    site.write("a.toml", "exce = \"x\"\n");
    let said = site.bootctl(&["renew", "--init", &api]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("did you mean `exec`?"), "{said:?}");
    assert!(said.err.contains("nothing was renewed"), "{said:?}");
    assert_eq!((site.supervisor(), site.pids("a")), (supervisor, pids));
}

#[test]
fn i10_renew_tells_by_its_code_that_there_is_nobody() {
    let mut command = Command::new(program("bootctl"));
    let said = said(command.args(["renew", "--init", "127.0.0.1:9"]).output().expect("it runs"));
    assert_eq!(said.code, Some(3), "{said:?}");
}
