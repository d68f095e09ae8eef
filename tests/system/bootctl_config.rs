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

#[test]
fn z02_the_files_of_zist_start() {
    let exec = env!("CARGO_BIN_EXE_answers");
    let sample = format!(
        "Name = \"app1\"\nPath = \"{exec}\"\nArgs = \"-your -app -args\"\nRestart = true\nWeb = true\n"
    );
    let worker = "Name = \"worker\"\nPath = \"/bin/sleep\"\nArgs = \"1000\"\nRestart = true\n\
                  Web = false\n";
    let site = Site::boot(&[("app1.toml", &sample), ("worker.toml", worker)]);
    site.wait_for("app1", "running");
    let view = site.wait_for("worker", "running");
    assert_eq!(site.get("app1", "/").status, 200);
    assert_eq!(site.get("worker", "/").status, 404, "it has no host");
    assert_eq!(site.init.job("app1.1")["spec"]["args"][2], "-args");
    assert_eq!(
        (&view["instances"][0]["state"], view["hosts"].as_array().map(Vec::len)),
        (&"ready".into(), Some(0))
    );
    let envs = site.init.job("worker.1")["spec"]["envs"].clone();
    assert!(envs.get("PORT").is_none(), "{envs}");
    let pid = site.pids("worker");
    site.done(&["reload"]);
    assert_eq!(site.pids("worker"), pid);
    site.done(&["restart", "worker"]);
    assert_ne!(site.pids("worker"), pid);
    let worker = worker.replace("1000", "2000");
    site.write("worker.toml", &worker);
    site.done(&["reload"]);
    assert_eq!(site.pids("worker").len(), 1);
    site.write("worker.toml", &format!("exec = \"{exec}\"\n"));
    site.done(&["reload"]);
    assert_eq!(site.get("worker", "/").status, 200, "now it has one");
}

/// What `plan` says for programs.
fn plan(site: &Site) -> serde_json::Value {
    serde_json::from_str(&site.done(&["plan", "--json"])).expect("JSON")
}

#[test]
fn i15_plan_tells_what_reload_would_do_and_does_nothing() {
    let site = Site::boot(&[
        ("a.toml", &answers(2, "[env]\nKEY = \"secret\"\n")),
        ("b.toml", &answers(1, "")),
        ("c.toml", &answers(1, "")),
    ]);
    for app in ["a", "b", "c"] {
        site.wait_for(app, "running");
    }
    assert_eq!(plan(&site)["nothing"], true);
    assert!(site.done(&["plan"]).starts_with("nothing to do"));
    let pids = site.pids("a");

    site.write("a.toml", &answers(3, "[env]\nKEY = \"other\"\n"));
    site.write("b.toml", &answers(1, "alias = [\"www.b\"]\n"));
    site.remove("c.toml");
    site.write("d.toml", &answers(2, ""));
    let told = plan(&site);
    assert_eq!(told["nothing"], false);
    assert_eq!(
        told["apps"],
        serde_json::json!([
            {
                "app": "a", "change": "changed", "replaces": ["a.1", "a.2"], "retires": [],
                "starts": 1,
                "keys": [
                    {"key": "env.KEY", "from": "\u{2026}", "to": "\u{2026}"},
                    {"key": "instances", "from": "2", "to": "3"},
                ],
            },
            {
                "app": "b", "change": "changed", "replaces": [], "retires": [], "starts": 0,
                "keys": [{"key": "alias", "from": "[] (default)", "to": "[\"www.b\"]"}],
            },
            {
                "app": "c", "change": "removed", "replaces": [], "retires": ["c.1"], "starts": 0,
                "keys": [],
            },
            {
                "app": "d", "change": "added", "replaces": [], "retires": [], "starts": 2,
                "keys": [],
            },
        ])
    );
    let routes = told["proxyIsTold"].to_string();
    assert!(routes.contains("the route www.b") && routes.contains("the route d"), "{routes}");
    assert_eq!(told["proxyTakesOver"], false);
    let words = site.done(&["plan"]);
    assert!(words.contains("a changes: replaces a.1, a.2, starts 1\n"), "{words}");
    assert!(words.contains("b changes, and no process is touched\n"), "{words}");
    assert!(!words.contains("secret") && !words.contains("other"), "{words}");
    assert_eq!(site.pids("a"), pids, "nothing is done");
    assert_eq!(site.get("www.b", "/").status, 404);

    site.done(&["reload"]);
    assert_eq!(plan(&site)["nothing"], true);
    let file = site.folder().join("conf/bootctl.toml");
    let text = std::fs::read_to_string(&file).expect("there");
    std::fs::write(&file, format!("{text}[proxy]\nworkers = 1\n")).expect("written");
    let told = plan(&site);
    assert_eq!(told["proxyTakesOver"], true);
    assert_eq!(told["settings"][0]["key"], "proxy.workers");
    site.write("d.toml", "exce = 1\n");
    let said = site.bootctl(&["plan"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("would change nothing") && said.err.contains("did you mean `exec`?"));
}
