//! Mistakes in the config are told and change nothing.

use jobinit_tests::bootctl::Site;

use crate::bootctl_apps::answers;

#[test]
fn z01_a_broken_file_leaves_everything_running_and_names_the_place() {
    let site = Site::boot(&[("a.toml", &answers(1, "")), ("b.toml", &answers(1, ""))]);
    site.wait_for("a", "running");
    site.wait_for("b", "running");
    let pids = (site.pids("a"), site.pids("b"));
    site.write("a.toml", &answers(1, "instnaces = 3\n"));
    site.write("b.toml", &answers(2, ""));
    let said = site.bootctl(&["reload"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    for part in
        ["apps/a.toml:3:1", "`instnaces`", "did you mean `instances`?", "nothing was changed"]
    {
        assert!(said.err.contains(part), "{part} in {said:?}");
    }
    assert_eq!((site.pids("a"), site.pids("b")), pids);
    let folder = site.folder().join("conf");
    let said = site.bootctl(&["check", "--config", folder.to_str().expect("UTF-8")]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("apps/a.toml:3:1"), "{said:?}");
}

#[test]
fn an_app_file_that_is_broken_at_boot_keeps_no_other_from_starting() {
    let site = Site::boot(&[("a.toml", "exce = 1\n"), ("b.toml", &answers(1, ""))]);
    site.wait_for("b", "running");
    assert_eq!(site.get("b", "/").status, 200);
    let table = site.done(&["status"]);
    assert!(
        table.contains("a.toml:1:1: `exce` is not a known key; did you mean `exec`?"),
        "{table}"
    );
    let said = site.bootctl(&["start", "a"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("broken"), "{said:?}");
}

#[test]
fn the_environment_of_an_app_is_what_its_file_says() {
    let site = Site::boot(&[("a.toml", &answers(1, "[env]\nCOLOUR = \"red\"\n"))]);
    let view = site.wait_for("a", "running");
    let job = site.init.job("a.1");
    let port = view["instances"][0]["port"].to_string();
    assert_eq!(
        job["spec"]["envs"],
        serde_json::json!({
            "BOOTCTL_APP": "a",
            "BOOTCTL_INSTANCE": "1",
            "COLOUR": "red",
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "PORT": port,
        })
    );
}
