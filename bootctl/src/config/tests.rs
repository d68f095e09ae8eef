//! What an administrator gets to read after a mistake.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::health::Probe;
use crate::place::PlaceKind;

mod again;

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir(folder.path().join("apps")).expect("apps");
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("a file");
    }
    folder
}

fn loaded(files: &[(&str, &str)]) -> (tempfile::TempDir, Config) {
    let folder = folder(files);
    let config = load(folder.path()).expect("a folder");
    (folder, config)
}

/// The problems of an app file `apps/a.toml`, without the folder.
fn problems(text: &str) -> Vec<String> {
    let (folder, config) = loaded(&[("apps/a.toml", text)]);
    told(folder.path(), &config)
}

fn told(folder: &Path, config: &Config) -> Vec<String> {
    let prefix = format!("{}/", folder.display());
    config.problems.iter().map(|problem| problem.to_string().replace(&prefix, "")).collect()
}

fn app(text: &str) -> App {
    let (folder, config) = loaded(&[("apps/a.toml", text)]);
    assert_eq!(told(folder.path(), &config), Vec::<String>::new());
    App::clone(config.apps.values().next().expect("one app"))
}

#[test]
fn an_app_needs_no_more_than_a_program() {
    let app = app("exec = \"node\"\n");
    assert_eq!((app.exec.as_str(), app.instances), ("node", 1));
    assert_eq!(app.env.keys().collect::<Vec<_>>(), ["PATH"]);
    assert_eq!(app.health.probe, Probe::Tcp);
}

#[test]
fn many_files_are_read_as_a_few_are() {
    let name = |number: usize| format!("apps/a{number:03}.toml");
    let text = |number: usize| match number % 70 {
        0 => "exec = 1\n".to_owned(),
        _ => format!("exec = \"node\"\nargs = [\"{number}\"]\n"),
    };
    let all: Vec<_> = (0..500).map(|number| (name(number), text(number))).collect();
    let all: Vec<_> = all.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let (folder, config) = loaded(&all);
    let is_told = |told: &[String]| {
        let wrong: Vec<_> = (0..500).step_by(70).map(name).collect();
        told.len() == wrong.len() && told.iter().zip(&wrong).all(|(it, file)| it.starts_with(file))
    };
    let told = told(folder.path(), &config);
    assert!(is_told(&told), "each once, in the order of their names: {told:#?}");
    assert_eq!(config.apps.len() + config.broken.len(), 500);
    for (name, app) in &config.apps {
        let number = name.as_str().trim_start_matches('a').trim_start_matches('0');
        assert_eq!(app.args, [number], "{name} says what its file says");
    }
}

#[test]
fn o09_defaults_are_those_of_the_types_they_become() {
    let app = app("exec = \"node\"\n");
    assert_eq!(app.health, crate::health::Check::default());
    assert_eq!(app.drain, crate::app::Drain::default());
    assert_eq!(app.stop, init_wire::Stop::default());
    let restart = init_wire::Restart { policy: init_wire::Policy::Always, ..Default::default() };
    assert_eq!(app.restart, restart);
    let (folder, config) = loaded(&[("bootctl.toml", "")]);
    assert_eq!(told(folder.path(), &config), [""; 0]);
    assert_eq!(config.settings, Settings::default());
}

/// A file that says no more than it must, and one key by its example.
fn with_example(schema: Schema, key: &schema::Key) -> String {
    let name = match key.path {
        "files.*" => "/static",
        path if path.starts_with("proxy.error_pages") => "5xx",
        _ => NAME,
    };
    let path: Vec<_> = key.path.split('.').map(|part| part.replace('*', name)).collect();
    let value = key.example.parse().expect("an example is TOML");
    let least = match schema {
        Schema::Main if key.path == "admin.certificate" => {
            "[admin]\nlisten = \"0.0.0.0:8443\"\nkey = \"/k\"\n"
        }
        Schema::Main if key.path.starts_with("hook.") => {
            "[hook.NAME]\nexec = \"x\"\nlevel = 3\nwhen = \"enter\"\n"
        }
        Schema::Main if key.path.starts_with("custom.") => "[custom.NAME]\nexec = \"x\"\n",
        Schema::Main if key.path == "admin.key" => {
            "[admin]\nlisten = \"0.0.0.0:8443\"\ncertificate = \"/c\"\n"
        }
        Schema::Main if key.path.starts_with("proxy.tls.hsts.") => {
            "[proxy.tls.hsts]\nmax_age = \"365d\"\nsubdomains = true\n"
        }
        Schema::Main if key.path == "proxy.tls.client_auth" => "[proxy.tls]\nclient_ca = \"/ca\"\n",
        Schema::Main if key.path.starts_with("proxy.tls.") => {
            "[proxy.tls]\ncertificate = \"/c\"\nkey = \"/k\"\n"
        }
        Schema::Main if key.path == "acme.challenges" => "[acme.dns]\nexec = \"x\"\n",
        Schema::Main if key.path.starts_with("acme.dns.") => "[acme.dns]\nexec = \"x\"\n",
        Schema::Main if key.path.starts_with("acme.authority.") => {
            "[acme.authority.NAME]\ndirectory = \"https://x\"\neab_key_id = \"k\"\neab_key_file = \"/k\"\n"
        }
        Schema::Main => "",
        Schema::App if key.path.starts_with("proxy.rate_limit.") => {
            "exec = \"node\"\n[proxy.rate_limit]\nrequests = 1\n"
        }
        Schema::App if matches!(key.path, "proxy.fallback" | "proxy.not_found") => {
            "exec = \"node\"\n[files]\n\"/static\" = \"public\"\n"
        }
        Schema::App if key.path == "proxy.compress_types" => {
            "exec = \"node\"\n[proxy]\ncompress = true\n"
        }
        Schema::App if key.path.starts_with("proxy.sticky.") => {
            "exec = \"node\"\n[proxy.sticky]\ncookie = \"c\"\n"
        }
        Schema::App if key.path.starts_with("proxy.basic_auth.") => USERS,
        Schema::App if key.path.starts_with("tls.hsts.") => {
            "exec = \"node\"\n[tls.hsts]\nmax_age = \"365d\"\nsubdomains = true\n"
        }
        Schema::App if key.path == "tls.acme" => "exec = \"node\"\n",
        Schema::App if key.path.starts_with("tls.") => {
            "exec = \"node\"\n[tls]\ncertificate = \"c\"\nkey = \"k\"\n"
        }
        Schema::App if key.path == "health.watchdog" => {
            "exec = \"node\"\n[health]\nnotify = true\n"
        }
        Schema::App => "exec = \"node\"\n",
    };
    edit::set(least, &edit::shown(&path), value).expect("it can be set")
}

/// What stands for any name.
const NAME: &str = "NAME";

const USERS: &str = "exec = \"node\"\n[proxy.basic_auth.users]\n\
    ann = \"$2b$12$Gj1x7QyzuJEgBBY51YFYGuOnS4TpdMSBjVGKfvZ3zZ7LJtYtVbTMe\"\n";

#[test]
fn o09_every_example_is_right_and_every_default_is_toml() {
    for (schema, file) in [(Schema::Main, "bootctl.toml"), (Schema::App, "apps/a.toml")] {
        for key in schema.keys() {
            assert_eq!(key.default.is_empty(), key.default_value().is_none(), "{}", key.path);
            let text = with_example(schema, key);
            // What says the same cannot be said twice.
            let text =
                if key.path == "Path" { text.replace("exec = \"node\"\n", "") } else { text };
            let (folder, config) = loaded(&[
                (file, &text),
                ("apps/db.toml", "exec = \"db\"\n"),
                ("apps/sorry.html", "<h1>Sorry</h1>"),
            ]);
            assert_eq!(told(folder.path(), &config), [""; 0], "{text}");
        }
    }
}

#[test]
fn o09_a_draft_counts_as_if_it_were_written() {
    let (folder, _) = loaded(&[("apps/a.toml", "exec = \"node\"\nalias = [\"www\"]\n")]);
    let problems = |name: &str, text: &str| {
        let path = folder.path().join(name);
        let config = load_with(folder.path(), &Draft { path: &path, text }).expect("read");
        told(folder.path(), &config)
    };
    assert_eq!(problems("apps/a.toml", "exec = 1\n").len(), 1);
    assert_eq!(problems("apps/b.toml", "exec = \"x\"\nalias = [\"www\"]\n").len(), 1);
    assert_eq!(problems("bootctl.toml", "[proxy]\nworkers = 0\n").len(), 1);
    assert_eq!(load(folder.path()).expect("read").apps.len(), 1);
}

#[test]
fn relative_paths_start_at_the_app_file() {
    let text = "exec = \"./run\"\ncwd = \"shop\"\n";
    let (folder, config) = loaded(&[("apps/a.toml", text)]);
    let apps = folder.path().canonicalize().expect("there").join("apps");
    let app = config.apps.values().next().expect("one app");
    assert_eq!(app.exec, apps.join("run").to_str().expect("UTF-8"));
    assert_eq!(app.cwd.as_deref(), apps.join("shop").to_str());
}

#[test]
fn an_unknown_key_suggests_the_nearest() {
    assert_eq!(
        problems("exec = \"node\"\n\ninstnaces = 2\n"),
        ["apps/a.toml:3:1: `instnaces` is not a known key; did you mean `instances`?"]
    );
    let health = problems("exec = \"node\"\n[health]\nhttpp = \"/\"\n");
    assert_eq!(
        health,
        ["apps/a.toml:3:1: `health.httpp` is not a known key; did you mean `http`?"]
    );
}

#[test]
fn a_wrong_type_names_the_right_one() {
    assert_eq!(
        problems("exec = 5\nargs = \"x\"\ninstances = \"2\"\n[env]\nDEBUG = 1\n"),
        [
            "apps/a.toml:5:9: `env.DEBUG` is a whole number, expected a string in quotes",
            "apps/a.toml:1:8: `exec` is a whole number, expected a string in quotes",
            "apps/a.toml:2:8: `args` is a string, expected an array of strings, such as \
             [\"a\", \"b\"]",
            "apps/a.toml:3:13: `instances` is a string, expected a whole number",
        ]
    );
}

#[test]
fn o07_instances_have_bounds() {
    for bad in ["-1", "1001", "1000000000"] {
        let told = problems(&format!("exec = \"node\"\ninstances = {bad}\n"));
        assert_eq!(
            told,
            [format!("apps/a.toml:2:13: `instances` is {bad}; use a number from 0 to 1000")]
        );
    }
    assert_eq!(app("exec = \"node\"\ninstances = 0\n").instances, 0);
}

#[test]
fn a_missing_program_is_told() {
    assert_eq!(
        problems("args = []\n"),
        ["apps/a.toml: `exec` is missing; name the program to run, such as exec = \"node\""]
    );
}

#[test]
fn what_is_not_toml_is_told_with_its_place() {
    let told = problems("exec = \"node\nargs = []\n");
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("apps/a.toml:1:"), "{told:?}");
    assert!(told[0].contains("is not TOML"), "{told:?}");
    let twice = problems("exec = \"a\"\nexec = \"b\"\n");
    assert!(twice[0].starts_with("apps/a.toml:2:1: the file is not TOML: duplicate"), "{twice:?}");
}

#[test]
fn d01_an_app_names_its_runlevels() {
    let told = problems("exec = \"node\"\nrunlevels = [3, 5]\n");
    assert!(
        told[0].starts_with("apps/a.toml:2:17: `runlevels` is 5; use a number from 1 to 4"),
        "{told:?}"
    );
}

#[test]
fn d07_hooks_and_commands_are_checked() {
    let told = |main: &str| {
        let (folder, config) = loaded(&[("bootctl.toml", main)]);
        super::tests::told(folder.path(), &config)
    };
    for (text, part) in [
        ("[hook.a]\nlevel = 3\nwhen = \"enter\"\n", "`hook.a.exec` is missing"),
        ("[hook.a]\nexec = \"x\"\nwhen = \"enter\"\n", "`hook.a.level` is missing"),
        ("[hook.a]\nexec = \"x\"\nlevel = 5\nwhen = \"enter\"\n", "from 0 to 4"),
        ("[hook.a]\nexec = \"x\"\nlevel = 3\nwhen = \"later\"\n", "use one of enter, leave"),
        ("[hook.\"a b\"]\nexec = \"x\"\n", "use letters, digits and hyphens"),
        ("[custom.a]\nargs = []\n", "`custom.a.exec` is missing"),
        ("[custom.a]\nexec = \"\"\n", "name the program to run"),
        ("runlevel = 0\n", "from 1 to 4"),
    ] {
        let told = told(text);
        assert!(told.iter().any(|line| line.contains(part)), "{text}: {told:?}");
    }
}

#[test]
fn odd_values_are_told() {
    for (text, expected) in [
        ("alias = [\"A.b\"]", "2:10: `alias` has upper case letters; write a.b"),
        (
            "health = { interval = 10 }",
            "2:23: `health.interval` is a whole number, expected a time in quotes, such as \
             \"10s\" or \"500ms\"",
        ),
        (
            "health = { interval = \"10\" }",
            "2:23: `health.interval` is \"10\"; write a number with its unit: \"500ms\", \
             \"10s\", \"5m\", \"1h\" or \"7d\"",
        ),
        (
            "health = { http = \"x\" }",
            "2:19: `health.http` is \"x\"; write a path, such as \"/healthz\"",
        ),
        ("health = \"/x\"", "2:10: `health` is a string, expected a table"),
        (
            "restart = { policy = \"sometimes\" }",
            "2:22: `restart.policy` is \"sometimes\"; use one of never, on-failure, always",
        ),
        ("restart = { factor = 0.5 }", "2:22: `restart.factor` is 0.5; use a number from 1 to 100"),
        (
            "stop = { signal = \"TREM\" }",
            "2:19: `stop.signal` is \"TREM\"; use a signal's name, such as \"TERM\", \"INT\" or \
             \"QUIT\"",
        ),
        ("socket = \"tcp\"", "2:10: `socket` is \"tcp\"; use one of port, unix, fd"),
        ("env = { PORT = \"1\" }", "2:9: `env.PORT` is set by bootctl itself; use another name"),
    ] {
        let told = problems(&format!("exec = \"node\"\n{text}\n"));
        assert_eq!(told, [format!("apps/a.toml:{expected}")], "{text}");
    }
}

#[test]
fn an_app_is_asked_in_one_way() {
    let probe = |health: &str| app(&format!("exec = \"node\"\n[health]\n{health}\n")).health;
    let words = |words: &[&str]| Probe::Exec(words.iter().map(ToString::to_string).collect());
    assert_eq!(probe("http = \"/x\"").probe, Probe::Http("/x".into()));
    assert_eq!(probe("tcp = true").probe, Probe::Tcp);
    assert_eq!(probe("notify = true").probe, Probe::Notify);
    assert_eq!(probe("exec = [\"ask\", \"me\"]").probe, words(&["ask", "me"]));
    assert_eq!(probe("exec = \"ask | me\"").probe, words(&["/bin/sh", "-c", "ask | me"]));
    let all = probe("start_period = \"1m\"\nrestart = false\nfails = 5");
    assert_eq!((all.start_period, all.restart), (Some(Duration::from_mins(1)), false));
    assert_eq!(probe("").start_period, None);
    let dog = probe("notify = true\nwatchdog = \"5s\"");
    assert_eq!(dog.watchdog, Some(Duration::from_secs(5)));
    for (text, expected) in [
        (
            "http = \"/\"\nexec = \"x\"",
            "3:1: `health.http` excludes `health.exec`; keep one of the two",
        ),
        (
            "notify = false",
            "3:10: `health.notify` is \"false\"; leave it out, or write http = \"/path\"",
        ),
        (
            "watchdog = \"5s\"",
            "3:1: `health.watchdog` has a meaning only together with notify = true; others are \
             asked again and again by themselves",
        ),
        ("exec = []", "3:8: `health.exec` is missing; name the program that asks"),
        (
            "exec = [\"\"]",
            "3:8: `health.exec` is \"\"; write a command, such as \"pg_isready -q\" or \
             [\"pg_isready\", \"-q\"]",
        ),
    ] {
        let told = problems(&format!("exec = \"node\"\n[health]\n{text}\n"));
        assert_eq!(told, [format!("apps/a.toml:{expected}")], "{text}");
    }
}

#[test]
fn who_accepts_for_an_app_does_not_answer_for_it() {
    let advice = "is missing; with socket = \"fd\" init accepts connections whether the app runs or \
                  not, so write http = \"/\", exec or notify";
    for health in ["", "[health]\ntcp = true\n", "[health]\ninterval = \"1s\"\n"] {
        let told = problems(&format!("exec = \"node\"\nsocket = \"fd\"\n{health}"));
        assert_eq!(told, [format!("apps/a.toml: `health.http` {advice}")], "{health}");
    }
    let fd = app("exec = \"node\"\nsocket = \"fd\"\n[health]\nnotify = true\n");
    assert_eq!((fd.socket, fd.health.probe), (PlaceKind::Fd, Probe::Notify));
}

#[test]
fn i14_names_that_are_not_there_and_circles_are_told() {
    let (folder, config) = loaded(&[
        ("apps/db.toml", "exec = \"x\"\n"),
        ("apps/shop.toml", "exec = \"x\"\nafter = [\"db\", \"bd\"]\n"),
        ("apps/odd.toml", "exec = \"x\"\nrequires = [\"something\"]\n"),
        ("apps/fine.toml", "exec = \"x\"\nafter = [\"db\"]\nrequires = [\"bad\", \"one\"]\n"),
        ("apps/bad.toml", "exec = 1\n"),
        ("apps/one.toml", "exec = \"x\"\nafter = [\"two\"]\n"),
        ("apps/two.toml", "exec = \"x\"\nafter = [\"db\"]\nrequires = [\"three\"]\n"),
        ("apps/three.toml", "exec = \"x\"\nrequires = [\"one\"]\n"),
        ("apps/self.toml", "exec = \"x\"\nafter = [\"self\"]\n"),
    ]);
    assert_eq!(
        told(folder.path(), &config),
        [
            "apps/bad.toml:1:8: `exec` is a whole number, expected a string in quotes",
            "apps/odd.toml:2:13: `requires` names something, and there is no such app; write its \
             file, or remove the name",
            "apps/shop.toml:2:16: `after` names bd, and there is no such app; did you mean db?",
            "apps/one.toml:2:10: `after` leads in a circle, one → two → three → one: none of them \
             could ever start; remove one of the steps",
            "apps/self.toml:2:10: `after` leads in a circle, self → self: none of them could ever \
             start; remove one of the steps",
        ]
    );
    assert_eq!(config.apps.keys().map(AppName::as_str).collect::<Vec<_>>(), ["db", "fine"]);
}

#[test]
fn i06_limits_have_units_and_ranges() {
    let app = app("exec = \"node\"\numask = \"027\"\nnice = -5\ngroups = [\"adm\"]\n\
         no_new_privs = true\ncapabilities = [\"NET_BIND_SERVICE\"]\noom_score_adj = 500\n\
         [limits]\nmemory = \"256M\"\nmemory_high = \"200M\"\ncpu = \"50%\"\ncpu_weight = 50\n\
         processes = 64\nopen_files = 1024\n");
    let place = crate::place::Place::Unix("/x".into());
    let spec =
        serde_json::to_value(app.job(1, &place, crate::order::Revision::default())).expect("JSON");
    assert_eq!(
        spec["cgroup"],
        serde_json::json!({
            "memory_max": 256 << 20, "memory_high": 200 << 20, "cpu_max": "50000 100000",
            "cpu_weight": 50, "pids_max": 64,
        })
    );
    assert_eq!(spec["rlimits"], serde_json::json!({"nofile": 1024}));
    assert_eq!((&spec["umask"], &spec["nice"]), (&"027".into(), &(-5).into()));
    assert_eq!((&spec["groups"][0], &spec["oom_score_adj"]), (&"adm".into(), &500.into()));
    assert_eq!(spec["capabilities"][0], "NET_BIND_SERVICE");
    assert_eq!(spec["no_new_privs"], true);

    let memory = "use a size from \"1M\" to \"1048576T\"";
    let unit = "write a number with its unit: \"64K\", \"256M\" or \"1.5G\"";
    let cpu = "write a part of a processor, or how many: \"50%\", \"1.5\" or \"2\"";
    for (text, expected) in [
        ("limits = { memory = \"256\" }", format!("2:21: `limits.memory` is \"256\"; {memory}")),
        ("limits = { memory = \"2P\" }", format!("2:21: `limits.memory` is \"2P\"; {unit}")),
        ("limits = { cpu = \"0\" }", format!("2:18: `limits.cpu` is \"0\"; {cpu}")),
        (
            "limits = { memory = 256 }",
            "2:21: `limits.memory` is a whole number, expected a size in quotes, such as \"256M\""
                .into(),
        ),
        (
            "limits = { processes = 0 }",
            "2:24: `limits.processes` is 0; use a number from 1 to 4194304".into(),
        ),
        ("nice = 20", "2:8: `nice` is 20; use a number from -20 to 19".into()),
        (
            "umask = \"888\"",
            "2:9: `umask` is \"888\"; write three octal digits in quotes, such as \"027\"".into(),
        ),
        (
            "capabilities = [\"net admin\"]",
            "2:16: `capabilities` is \"net admin\"; write names such as \"NET_BIND_SERVICE\""
                .into(),
        ),
    ] {
        let told = problems(&format!("exec = \"node\"\n{text}\n"));
        assert_eq!(told, [format!("apps/a.toml:{expected}")], "{text}");
    }
}

#[test]
fn one_broken_file_says_nothing_about_the_others() {
    let (folder, config) = loaded(&[
        ("apps/a.toml", "exec = \"node\"\n"),
        ("apps/b.toml", "exce = \"node\"\n"),
        ("apps/Bad Name.toml", "exec = \"node\"\n"),
        ("apps/.hidden.toml", "nonsense"),
        ("apps/readme.md", "nonsense"),
    ]);
    assert_eq!(config.apps.keys().map(AppName::as_str).collect::<Vec<_>>(), ["a"]);
    assert_eq!(config.broken.iter().map(AppName::as_str).collect::<Vec<_>>(), ["b"]);
    assert_eq!(
        told(folder.path(), &config),
        [
            "apps/Bad Name.toml: the file gives the app its name, which holds ' '; host names \
             consist of a-z, 0-9, `-` and `.`; rename the file",
            "apps/b.toml:1:1: `exce` is not a known key; did you mean `exec`?",
            "apps/b.toml: `exec` is missing; name the program to run, such as exec = \"node\"",
        ]
    );
}

#[test]
fn an_app_is_not_called_like_the_proxy() {
    let (folder, config) = loaded(&[("apps/proxyd.toml", "exec = \"node\"\n")]);
    let told = told(folder.path(), &config);
    assert_eq!(told.len(), 1);
    assert!(told[0].contains("that of the proxy's jobs"), "{told:?}");
    assert!(config.apps.is_empty() && config.broken.is_empty());
}

#[test]
fn the_proxys_graces_are_whole_seconds() {
    let read = |text: &str| loaded(&[("bootctl.toml", text)]).1;
    assert_eq!(read("").settings.proxy.grace, Duration::from_secs(30));
    assert_eq!(read("[proxy]\ngrace = \"2m\"\n").settings.proxy.grace, Duration::from_mins(2));
    for bad in ["1500ms", "25h", "x"] {
        let config = read(&format!("[proxy]\ngrace = \"{bad}\"\n"));
        assert!(config.settings_broken, "{bad}");
    }
}

#[test]
fn a_host_leads_to_one_app() {
    let (folder, config) = loaded(&[
        ("apps/a.toml", "exec = \"node\"\nalias = [\"www\", \"b\"]\n"),
        ("apps/b.toml", "exec = \"node\"\n"),
        ("apps/c.toml", "exec = \"node\"\nalias = [\"www.c\", \"www.c\"]\n"),
    ]);
    let hosts = |name: &str| {
        let app = config.apps.iter().find(|(app, _)| app.as_str() == name).expect("it is there");
        app.1.hosts().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(hosts("a"), ["a", "www"], "without the one that is not its own");
    assert_eq!(hosts("b"), ["b"]);
    assert_eq!(hosts("c"), ["c", "www.c"]);
    assert!(config.broken.is_empty(), "{:?}", config.broken);
    assert_eq!(
        told(folder.path(), &config),
        [
            "apps/a.toml:2:17: `alias b` is a host that b has already (apps/b.toml); remove it from \
             one of the two",
            "apps/c.toml:2:19: `alias www.c` is a host that c has already (apps/c.toml); remove it \
             from one of the two",
        ]
    );
}

#[test]
fn o10_what_the_proxy_is_told_is_read_from_an_apps_file() {
    let text = "exec = \"node\"\nredirect = [\"old.a\"]\n[proxy]\nmount = [\"www/a/\"]\n\
        balance = \"cookie sid\"\nmax_in_flight = 5\nqueue_time = \"2s\"\nallow = [\"10.0.0.0/8\"]\n\
        [proxy.limits]\nbody = \"1M\"\nanswer = \"1500ms\"\n\
        [proxy.rate_limit]\nrequests = 20\nper = \"1m\"\n\
        [proxy.response_headers]\nset = { X-A = \"b\" }\nremove = [\"Server\"]\n\
        [proxy.error_pages]\n5xx = \"sorry.html\"\n\
        [proxy.maintenance]\non = true\npage = \"sorry.html\"\nretry_after = \"1m\"\n";
    let (folder, config) = loaded(&[("apps/a.toml", text), ("apps/sorry.html", "Sorry")]);
    assert_eq!(told(folder.path(), &config), [""; 0]);
    let site = &config.apps.values().next().expect("one app").site;
    let rules = serde_json::to_value(&site.rules).expect("JSON");
    assert_eq!(
        rules,
        serde_json::json!({
            "limits": {"body_bytes": 1 << 20, "answer_ms": 1500},
            "response_headers": {"remove": ["Server"], "set": {"X-A": "b"}},
            "allow": ["10.0.0.0/8"],
            "rate_limit": {"requests": 20, "per_s": 60},
            "error_pages": {"5xx": {"html": "Sorry"}},
        })
    );
    assert_eq!(
        serde_json::to_value(&site.service).expect("JSON"),
        serde_json::json!({"balance": {"hash": {"cookie": "sid"}}, "queue_ms": 2000})
    );
    let answer = site.maintenance.as_ref().expect("it is on");
    assert_eq!((answer.body.as_str(), answer.retry_after_s), ("Sorry", Some(60)));
    assert_eq!((site.mounts.as_slice(), site.max_in_flight), (&["www/a".to_owned()][..], Some(5)));
}

#[test]
fn o10_what_the_proxy_could_not_do_is_told() {
    for (text, expected) in [
        ("redirect_status = 305", "2:19: `proxy.redirect_status` is \"305\"; use 301, 302, 303"),
        ("mount = [\"x\"]", "2:10: `proxy.mount` is \"x\"; write a host and the beginning of a"),
        ("allow = [\"10.0.0.1/8\"]", "2:10: `proxy.allow` is \"10.0.0.1/8\"; write an address"),
        ("rate_limit = { per = \"1s\" }", "`proxy.rate_limit.requests` is missing; say how many"),
        ("rate_limit = { requests = 0 }", "2:27: `proxy.rate_limit.requests` is 0; use a number"),
        ("balance = \"random\"", "2:11: `proxy.balance` is \"random\"; use least-loaded or"),
        ("queue_time = \"2h\"", "2:14: `proxy.queue_time` is \"2h\"; use a time of at most 1h"),
        ("sticky = { max_age = \"1d\" }", "`proxy.sticky.cookie` is missing; name it"),
        ("retry = { statuses = [500] }", "2:23: `proxy.retry.statuses` is 500; use a number from"),
        (
            "basic_auth = { users = { ann = \"secret\" } }",
            "2:32: `proxy.basic_auth.users.ann` is \"…\"; write what `proxyd hash-password` says",
        ),
        ("basic_auth = { realm = \"x\" }", "`proxy.basic_auth.users` is missing; name at least"),
        ("error_pages = { 5xx = \"no.html\" }", "2:23: `proxy.error_pages.5xx` names "),
        ("error_pages = { 200 = \"no.html\" }", "2:17: `proxy.error_pages.200` is \"200\"; use a"),
        (
            "response_headers = { set = { \"a b\" = \"\" } }",
            "2:30: `proxy.response_headers.set.a b` is \"a b\"; a field's name is letters",
        ),
        ("headers = {}", "2:1: `proxy.headers` is not a known key"),
    ] {
        let told =
            problems(&format!("exec = \"node\"\nproxy.{text}\n").replace("proxy.", "[proxy]\n"));
        let expected = expected.replacen("2:", "3:", 1);
        assert_eq!(told.len(), 1, "{told:?}");
        let place = told[0].trim_start_matches("apps/a.toml").trim_start_matches([':', ' ']);
        assert!(place.starts_with(&expected), "{text}: {told:?}");
    }
    let (_, config) = loaded(&[
        ("apps/a.toml", "exec = \"x\"\nredirect = [\"b\"]\n"),
        ("apps/b.toml", "exec = \"x\"\n[proxy]\nmount = [\"a/x\", \"c/x\"]\n"),
        ("apps/c.toml", "exec = \"x\"\n[proxy]\nmount = [\"c/x/\"]\n"),
    ]);
    let told: Vec<_> = config.problems.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 2);
    assert!(told[0].contains("a.toml:2:13: `redirect b` is a host that b has already"), "{told:?}");
    assert!(told[1].contains("c.toml:3:10: `proxy.mount c/x` is a host that b has"), "{told:?}");
}

#[test]
fn z02_zists_sample_is_an_app() {
    let sample = "Name = \"a\"\nPath = \"/path/to/a\"\nArgs = \"-your -app 'arg s'\"\n\
        Restart = true\nWeb = true\n";
    let zist = app(sample);
    assert_eq!((zist.exec.as_str(), zist.hosts().count()), ("/path/to/a", 1));
    assert_eq!(zist.args, ["-your", "-app", "arg s"]);
    assert_eq!(zist.restart.policy, init_wire::Policy::Always);
    let worker = app(&sample.replace("true", "false"));
    assert_eq!(worker.restart.policy, init_wire::Policy::Never);
    assert_eq!((worker.hosts().count(), worker.health.probe), (0, Probe::Alive));
    for (text, expected) in [
        ("Path = \"x\"\nName = \"b\"", "2:8: `Name` is \"b\", but the file is named a.toml"),
        ("Path = \"x\"\nexec = \"y\"", "1:1: `Path` excludes `exec`"),
        ("Path = \"x\"\nArgs = \"'y\"", "2:8: `Args` is \"'y\"; end each quote that begins"),
        ("Path = \"x\"\nrestart = {}\nRestart = true", "3:1: `Restart` excludes `restart`"),
        ("Name = \"a\"", " `exec` is missing"),
    ] {
        let told = problems(text);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains(expected), "{text}: {told:?}");
    }
}

#[test]
fn z02_an_app_without_hosts_has_nothing_that_belongs_to_them() {
    let worker = app("exec = \"x\"\nweb = false\n");
    assert_eq!(worker.socket, crate::place::PlaceKind::Nowhere);
    let told = problems(
        "exec = \"x\"\nweb = false\nport = 1\nalias = [\"b\"]\nhealth = { http = \"/\" }\n",
    );
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told.iter().all(|told| told.contains("excludes `web = false`")), "{told:?}");
    let asked = app("exec = \"x\"\nweb = false\nhealth = { exec = \"true\" }\n");
    assert!(matches!(asked.health.probe, Probe::Exec(_)));
}

#[test]
fn the_main_file_is_optional_and_checked() {
    let (_, config) = loaded(&[]);
    assert_eq!(config.settings, Settings::default());
    let (folder, config) =
        loaded(&[("bootctl.toml", "[proxy]\nlisten = \"*:80\"\nworker = 2\n[ports]\nfirst = 0\n")]);
    assert!(config.settings_broken);
    assert_eq!(
        told(folder.path(), &config),
        [
            "bootctl.toml:3:1: `proxy.worker` is not a known key; did you mean `workers`?",
            "bootctl.toml:2:10: `proxy.listen` is \"*:80\"; write a numeric address and a port, \
             such as \"0.0.0.0:80\" or \"[::]:80\"",
            "bootctl.toml:5:9: `ports.first` is 0; use a number from 1 to 65535",
        ]
    );
}

#[test]
fn an_absent_folder_is_no_empty_one() {
    let folder = folder(&[]);
    let error = load(&folder.path().join("nowhere")).expect_err("there is none");
    assert!(matches!(error, ConfigError::Absent { .. }), "{error}");
}

#[test]
fn o12_a_log_is_kept_as_the_files_say() {
    use crate::logs::keeping::{Compress, Keeping};
    let main = "[log]\ndir = \"/logs\"\nmax_size = \"1M\"\nconsole = true\n";
    let one = "exec = \"a\"\n[log]\nmax_age = \"1d\"\nbuffer = \"1M\"\nwhen_full = \"wait\"\n";
    let files = [("bootctl.toml", main), ("apps/a.toml", one)];
    let (folder, config) = loaded(&files);
    assert_eq!(told(folder.path(), &config), Vec::<String>::new());
    let logs = &config.settings.logs;
    assert_eq!((logs.dir.as_deref(), logs.console), (Some("/logs"), Some(true)));
    let log = &config.apps.values().next().expect("one app").log;
    let capture = log.capture.as_ref().expect("it is kept");
    assert_eq!((capture.bytes, capture.when_full), (1 << 20, init_wire::WhenFull::Wait));
    let day = 24 * 3600 * 1000;
    let (max_size, compress) = (1 << 20, Compress::Gzip);
    let kept = Keeping { max_size, max_age_ms: day, keep: 5, compress };
    assert_eq!(log.changes.to(&logs.keeping), kept);

    assert_eq!(app("exec = \"a\"\n[log]\ncapture = false\n").log.capture, None);
    assert_eq!(
        problems("exec = \"a\"\n[log]\nbuffer = \"1K\"\nmax_size = \"10\"\nmax_age = \"1s\"\n"),
        [
            "apps/a.toml:3:10: `log.buffer` is \"1K\"; use a size from \"4K\" to \"16M\"",
            "apps/a.toml:4:12: `log.max_size` is \"10\"; use a size from \"64K\" to \"1T\"",
            "apps/a.toml:5:11: `log.max_age` is \"1s\"; use a minute or more, such as \"12h\" or \
             \"7d\"",
        ]
    );
}

#[test]
fn z01_a_file_that_vanishes_while_it_is_read_is_looked_for_once_more() {
    let folder = folder(&[("apps/a.toml", "exec = \"x\"\n")]);
    let phantom = folder.path().join("apps/b.toml");
    let attempts = |gone_by: u32| {
        let mut attempt = 0;
        let config = load_listed(folder.path(), Given::default(), |apps| {
            attempt += 1;
            let mut files = app_files::list(apps)?;
            files.extend((attempt < gone_by).then(|| phantom.clone()));
            Ok(files)
        });
        (attempt, told(folder.path(), &config.expect("a folder")).len())
    };
    assert_eq!(attempts(1), (1, 0));
    assert_eq!(attempts(2), (2, 0));
    assert_eq!(attempts(9), (ATTEMPTS, 1), "it is not tried for ever");
    std::os::unix::fs::symlink("nowhere", &phantom).expect("linked");
    assert_eq!(attempts(1), (1, 1), "a link that leads nowhere is not on its way");
}

#[test]
fn o10_what_the_proxy_does_with_instances_is_read_from_an_apps_file() {
    let text = "exec = \"node\"\n[proxy]\nmount = [\"www/a\"]\nrewrite = \"/v2\"\nreplace_errors = true\n\
        [proxy.limits]\nrate = \"1K\"\n[proxy.sticky]\ncookie = \"c\"\npath = \"/cart\"\n\
        [proxy.pool]\nidle_time = \"0s\"\nsize = 9\nrequests = 8\n\
        [proxy.retry]\nbudget = 50\nbudget_per_second = 7\n\
        [proxy.eject]\nbackoff = \"2s\"\nmax_backoff = \"3s\"\npanic = 50\n\
        [proxy.error_pages]\n5xx = \"sorry.html\"\n";
    let (folder, config) = loaded(&[("apps/a.toml", text), ("apps/sorry.html", "Sorry")]);
    assert_eq!(told(folder.path(), &config), [""; 0]);
    let app = config.apps.values().next().expect("one app");
    assert_eq!(
        serde_json::to_value(&app.site.service).expect("JSON"),
        serde_json::json!({
            "sticky": {"cookie": "c", "path": "/cart"},
            "pool": {"idle_ms": 0, "size": 9, "requests": 8},
            "retry": {"attempts": 3, "statuses": [], "budget_percent": 50, "budget_per_s": 7},
            "eject": {
                "failures": 5, "statuses": [], "backoff_ms": 2000, "max_backoff_ms": 3000, "panic": 50,
            },
        })
    );
    let routes = {
        let (nobody, origin) = (crate::tls::Coverage::default(), crate::site::Origin::default());
        app.site.routes(&app.name, app.hosts(), origin, &nobody, crate::site::Shown::Own)
    };
    assert_eq!(
        (routes["www/a"].rewrite.as_deref(), routes["a"].rewrite.as_deref()),
        (Some("/v2"), None)
    );
    assert!(routes["a"].error_pages["5xx"].of_target);
    assert_eq!(routes["a"].limits.as_ref().and_then(|limits| limits.body_rate), Some(1024));
    let wrong = |table: &str| problems(&format!("exec = \"x\"\n[proxy]\n{table}")).join("\n");
    for (table, part) in [
        ("rewrite = \"v2\"\n", "such as /v2"),
        (
            "rewrite = \"/v2\"\nstrip_prefix = true\n",
            "`proxy.rewrite` excludes `proxy.strip_prefix`",
        ),
        ("sticky = { cookie = \"c\", path = \"cart\" }\n", "such as /cart"),
        ("eject.backoff = \"1ms\"\n", "use at least 10ms"),
        ("eject.backoff = \"1m\"\n", "may not be longer than `max_backoff`"),
        ("pool.size = 70000\n", "from 0 to 65536"),
    ] {
        assert!(wrong(table).contains(part), "{table}: {}", wrong(table));
    }
}

#[test]
fn o10_what_the_proxy_takes_from_clients_is_read_from_the_main_file() {
    let text = "[proxy]\nbody_time = \"1s\"\nwrite_time = \"2s\"\nrate_time = \"3s\"\nhead_size = \"8K\"\n\
                head_fields = 64\nuri_size = \"2K\"\nhalf_closed = true\nlimits.rate = \"0\"\n";
    let (folder, config) = loaded(&[("bootctl.toml", text)]);
    assert_eq!(told(folder.path(), &config), [""; 0]);
    assert_eq!(
        serde_json::to_value(&config.settings.proxy.front).expect("JSON"),
        serde_json::json!({
            "body_ms": 1000, "write_ms": 2000, "rate_window_ms": 3000, "head_bytes": 8192, "fields": 64,
            "uri_bytes": 2048, "half_closed": true, "limits": {"body_rate": 0},
        })
    );
}

#[test]
fn o21_what_is_said_of_https_is_told_to_the_proxy() {
    let (folder, config) = loaded(&[
        (
            "bootctl.toml",
            "[proxy]\nlisten = \"[::]:80\"\n[proxy.tls]\ncertificate = \"/c\"\nkey = \"/k\"\n\
             unknown_names = \"answer\"\nmin_version = \"1.3\"\nclient_ca = \"/ca\"\n\
             client_auth = \"optional\"\n[proxy.tls.hsts]\nmax_age = \"1d\"\n[proxy.http2]\nstreams = 7\n",
        ),
        ("apps/a.toml", "exec = \"x\"\n[tls]\ncertificate = \"a.pem\"\nkey = \"/a.key\"\n"),
        (
            "apps/b.toml",
            "exec = \"x\"\n[proxy]\nprotocol = \"h2c\"\n[tls]\nredirect = true\n[tls.hsts]\nmax_age = \"1h\"\n",
        ),
    ]);
    assert_eq!(told(folder.path(), &config), [""; 0]);
    let proxy = &config.settings.proxy;
    let settings = serde_json::to_value(&proxy.tls.settings).expect("plain");
    let wanted = serde_json::json!({
        "min_version": "1.3", "default_certificate": "proxyd", "client_auth": "optional",
        "hsts": {"max_age": 86400},
    });
    assert_eq!((settings, proxy.front.http2.streams), (wanted, Some(7)));
    assert_eq!(proxy.tls.client_ca.as_deref(), Some(Path::new("/ca")));
    let app = |name: &str| config.apps.get(name).expect("it is good");
    let files = app("a").tls.files.clone().expect("they are named");
    let folder = folder.path().canonicalize().expect("it is there");
    assert_eq!(files.certificate, folder.join("apps/a.pem"));
    assert_eq!(files.key, Path::new("/a.key"));
    assert_eq!((app("a").site.to_https, app("b").site.to_https), (None, Some(true)));
    assert_eq!(app("b").site.service.protocol, proxyd_wire::Protocol::H2c);
    let hsts = |name: &str| app(name).site.rules.hsts.clone().map(|hsts| hsts.max_age);
    assert_eq!((hsts("a"), hsts("b")), (None, Some(3600)));
}

#[test]
fn o21_mistakes_of_https_name_their_keys() {
    assert_eq!(
        problems("exec = \"x\"\n[tls]\ncertificate = \"c\"\n"),
        ["apps/a.toml: `tls.key` is missing; a certificate and its key are named together"]
    );
    assert_eq!(
        problems("exec = \"x\"\n[tls]\nredirect = false\n[proxy]\nforce_https = true\n"),
        ["apps/a.toml:3:1: `tls.redirect` excludes `proxy.force_https`; keep one of the two"]
    );
    assert_eq!(
        problems("exec = \"x\"\nweb = false\n[tls]\nredirect = false\n"),
        ["apps/a.toml:3:2: `tls` excludes `web = false`; keep one of the two"]
    );
    let main = |text: &str| {
        let (folder, config) = loaded(&[("bootctl.toml", text)]);
        told(folder.path(), &config)
    };
    assert_eq!(
        main("[proxy.tls]\nlisten = \"443\"\ncertificate = \"c\"\nkey = \"/k\"\n"),
        [
            "bootctl.toml:3:15: `proxy.tls.certificate` is \"c\"; write an absolute path, such as \
             \"/etc/ssl/example.pem\"",
            "bootctl.toml:2:10: `proxy.tls.listen` is \"443\"; write a numeric address and a port, such as \
             \"[::]:443\", or \"off\"",
        ]
    );
    assert_eq!(
        main("[proxy.tls]\nunknown_names = \"answer\"\nclient_auth = \"optional\"\n"),
        [
            "bootctl.toml:2:1: `proxy.tls.unknown_names` has a meaning only with proxy.tls.certificate, which is what \
             would be shown",
            "bootctl.toml:3:1: `proxy.tls.client_auth` has a meaning only with proxy.tls.client_ca",
        ]
    );
    assert_eq!(
        main("[proxy.tls.hsts]\nmax_age = \"1d\"\npreload = true\n"),
        [
            "bootctl.toml:3:1: `proxy.tls.hsts.preload` has a meaning only with subdomains = true and a max_age of a \
             year or more"
        ]
    );
}

#[test]
fn an_app_can_be_files_only() {
    let site = app(
        "[files]\n\"/\" = \"public\"\n\"/a/b\" = \"/srv/b\"\n[proxy]\nfallback = \"/x.html\"\n",
    );
    assert!(site.is_files() && site.instances == 0);
    let (prefix, folder) = site.site.folders.first_key_value().expect("two");
    assert!(prefix == "/" && folder.path.ends_with("apps/public"), "{folder:?}");
    assert_eq!(folder.within.as_deref(), Some(Path::new("public")));
    assert_eq!(site.site.folders["/a/b"].within, None);
    for (text, place) in [
        ("exec = \"a\"\n[files]\n\"/\" = \"x\"\n", "3:1: `files./` excludes `exec`"),
        (
            "instances = 2\n[files]\n\"/\" = \"x\"\n",
            "1:1: `instances` has a meaning only with `exec`",
        ),
        ("[files]\n\"/a\" = \"x\"\n", ": `exec` is missing"),
        ("[files]\n\"/\" = \"../x\"\n", "2:7: `files./` is \"../x\""),
        ("[files]\n\"/\" = \"x\"\n\"a/\" = \"x\"\n", "3:1: `files.a/` is \"a/\""),
        (
            "exec = \"a\"\n[proxy]\nfallback = \"/x\"\n",
            "3:1: `proxy.fallback` has a meaning only with `[files]`",
        ),
        (
            "exec = \"a\"\n[proxy]\ncompress_types = [\"a/b\"]\n",
            "3:1: `proxy.compress_types` has a meaning only with",
        ),
    ] {
        let told = problems(text);
        assert!(told.iter().any(|told| told.contains(place)), "{text} {told:?}");
    }
}

#[test]
fn o22_who_is_asked_for_certificates_is_named_or_described() {
    let main = |text: &str| {
        let (folder, config) = loaded(&[("bootctl.toml", text)]);
        (told(folder.path(), &config), config.settings.acme)
    };
    assert_eq!(main("").1, None);
    let (problems, acme) = main("[acme]\nemail = \"ops@shop.example\"\n");
    let acme = acme.expect("it is there");
    assert_eq!((problems, acme.is_for_all, acme.preflight), (Vec::new(), true, true));
    assert_eq!(acme.authorities[0].directory, "https://acme-v02.api.letsencrypt.org/directory");
    let (problems, acme) = main(
        "[acme]\nca = [\"mine\", \"zerossl\", \"https://other.example/d\"]\n[acme.authority.mine]\n\
         directory = \"https://ca.example/d\"\nroot = \"/ca.pem\"\nprofile = \"short\"\n\
         [acme.authority.zerossl]\neab_key_id = \"kid\"\neab_key_file = \"/k\"\n",
    );
    let acme = acme.expect("it is there");
    let told: Vec<_> = acme.authorities.iter().map(|it| it.directory.as_str()).collect();
    assert_eq!(
        (problems, told),
        (
            Vec::new(),
            vec![
                "https://ca.example/d",
                "https://acme.zerossl.com/v2/DV90",
                "https://other.example/d"
            ]
        )
    );
    assert_eq!(acme.authorities[0].root_file.as_deref(), Some(Path::new("/ca.pem")));
    assert_eq!(acme.authorities[1].eab.as_ref().map(|eab| eab.key_id.as_str()), Some("kid"));
    let (problems, _) = main(
        "[acme]\nemail = \"nobody\"\nca = [\"lets\"]\nchallenges = [\"dns-01\"]\n\
         [acme.authority.mine]\neab_key_id = \"kid\"\n",
    );
    assert_eq!(
        problems,
        [
            "bootctl.toml: `acme.authority.mine.directory` is missing; write the address of its directory",
            "bootctl.toml: `acme.authority.mine.eab_key_file` is missing; the two are named together",
            "bootctl.toml:3:7: `acme.ca` is \"lets\"; write letsencrypt, letsencrypt-staging, zerossl, a NAME of \
             [acme.authority.NAME], or an address that begins with https://",
            "bootctl.toml:4:1: `acme.challenges` has a meaning only with acme.dns.exec, which is what places records for \
             dns-01",
            "bootctl.toml:2:9: `acme.email` is \"nobody\"; write an address such as ops@shop.example",
        ]
    );
}
