//! What a container's host decides: the command, an init of its own in between, a terminal, variables, how long the end
//! may take, and how much there is.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use jobinit_tests::container::{Bundle, RUNTIMES, add, bind, count_in, namespace_of};
use jobinit_tests::{http, image, tools, wait};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What Docker puts in front of a command with `--init`.
const DOCKERS_INIT: &str = "/usr/bin/tini-static";
/// What is written in its place there.
const IN_BETWEEN: [&str; 2] = ["/sbin/docker-init", "--"];
const SHELL: [&str; 3] = ["/demo/busybox", "sh", "-c"];
/// A command, and the exit code that the host is to see.
const CODES: &[(&[&str], i32)] = &[
    (&["/demo/busybox", "true"], 0),
    (&["/demo/busybox", "sh", "-c", "exit 77"], 77),
    (&["/demo/busybox", "sh", "-c", "kill -TERM $$"], 143),
    (&["/no/such/program"], 127),
    (&["/etc/passwd"], 126),
];
/// What hosts pass, and what they pass when they have nothing to pass.
const VARIABLES: &[&str] = &[
    "PATH=",
    "HOME=",
    "HOSTNAME=web-0",
    "container=oci",
    "TERM=xterm",
    "PORT=80",
    "TZ=",
    "LANG=xx_YY.UTF-8",
    "KUBERNETES_SERVICE_HOST=10.0.0.1",
    "WEB_PORT=tcp://10.0.0.2:80",
    "HTTP_PROXY=http://nowhere.example:1",
    "NOTIFY_SOCKET=/run/nowhere",
    "LISTEN_FDS=7",
    "LISTEN_PID=",
    "WATCHDOG_USEC=x",
    "INIT_API=nonsense",
    "INIT_TOKEN_FILE=",
    "INIT_STATE=1",
    "BOOTCTL_CONFIG=",
    "BOOTCTL_INIT=",
    "BOOTCTL_PROXY_LISTEN=",
    "BOOTCTL_PROXY_TLS_LISTEN=",
    "BOOTCTL_RUN_DIR=",
    "BOOTCTL_STATE_DIR=",
    "BOOTCTL_LOG_DIR=",
    "BOOTCTL_PROXYD=",
    "BOOTCTL_HOST=",
    "BOOTCTL_SOCKET=",
    "RUST_LOG=",
    "RUST_BACKTRACE=x",
    "TWICE=1",
    "TWICE=2",
];
const NAPS: &str = "exec = \"/demo/busybox\"\nargs = [\"sleep\", \"1000\"]\nweb = false\n";
/// Has all the time in the world, and takes it.
const STUBBORN: &str = "exec = \"/demo/busybox\"\nweb = false
args = [\"sh\", \"-c\", \"trap '' TERM; while :; do sleep 1; done\"]\n[stop]\ntimeout = \"10m\"\n";

/// A folder that nobody may read, with a file of that text.
fn apps(name: &str, text: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(folder.path().join(name), text).unwrap();
    folder
}

/// The jobs of the init that listens there, once there is one.
fn job(api: std::net::SocketAddr, id: &str) -> Option<Value> {
    let answer = http::try_get(api, &format!("/job/{id}"))?;
    (answer.status == 200).then(|| answer.json())
}

#[test]
fn images_oci_i16_exit_codes_are_the_commands_with_another_init_in_between_too() {
    let Some(bundle) = Bundle::make() else { return };
    if !tools::present(&[DOCKERS_INIT]) {
        return;
    }
    for runtime in RUNTIMES {
        for in_between in [&[][..], &IN_BETWEEN] {
            for (command, code) in CODES {
                let mut config = bundle.hardened();
                bind(&mut config, IN_BETWEEN[0], Path::new(DOCKERS_INIT));
                let [_, api] = image::free_addresses();
                add(&mut config, "env", &[&format!("INIT_LISTEN={api}")]);
                let words = [in_between, &["/sbin/init", "--"], command].concat();
                config["process"]["args"] = json!(words);
                let (mut command, _) = bundle.command(runtime, &config);
                let output = command.stdin(Stdio::null()).output().unwrap();
                assert_eq!(output.status.code(), Some(*code), "{runtime} {words:?}: {output:?}");
            }
        }
    }
}

#[test]
fn images_oci_i16_a_terminal_is_the_commands() {
    let Some(bundle) = Bundle::make() else { return };
    for runtime in RUNTIMES {
        let mut config = bundle.hardened();
        let [_, api] = image::free_addresses();
        add(&mut config, "env", &[&format!("INIT_LISTEN={api}")]);
        config["process"]["terminal"] = json!(true);
        let script = "/demo/busybox tty; read line; echo got $line; exit 7";
        config["process"]["args"] = json!([&["/sbin/init", "--"], &SHELL[..], &[script]].concat());
        let (run, _) = bundle.command(runtime, &config);
        let words = std::iter::once(run.get_program()).chain(run.get_args());
        let line: Vec<_> = words.map(|word| word.to_str().unwrap()).collect();

        let mut command = Command::new("script");
        command.args(["-qec", &line.join(" "), "/dev/null"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut typed = child.stdin.take().unwrap();
        typed.write_all(b"word\n").unwrap();
        let status = wait::until("its end", || child.try_wait().unwrap());
        drop(typed);
        let mut said = String::new();
        child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(status.code(), Some(7), "{runtime}: {said}");
        assert!(said.contains("/dev/pts/0") && said.contains("got word"), "{runtime}: {said}");
    }
}

#[test]
fn images_oci_b17_no_variable_of_a_host_is_in_the_way_or_an_apps() {
    let Some(bundle) = Bundle::make() else { return };
    let apps = apps("naps.toml", NAPS);
    for runtime in RUNTIMES {
        let [proxy, api] = image::free_addresses();
        let mut config = bundle.hardened();
        bind(&mut config, "/etc/bootctl/apps", apps.path());
        let long = format!("LONG={}", "x".repeat(100_000));
        config["process"]["env"] = json!([]);
        add(&mut config, "env", VARIABLES);
        add(&mut config, "env", &[&long, &format!("INIT_LISTEN={api}")]);
        add(&mut config, "args", &["--proxy-listen", &proxy.to_string()]);
        let container = bundle.run(runtime, &config);
        let app = wait::until_for(wait::PATIENCE * 3, "the app", || job(api, "naps.1"));
        let envs = app["spec"]["envs"].as_object().unwrap();
        let theirs = VARIABLES.iter().filter_map(|variable| variable.split('=').next());
        for name in theirs.filter(|name| !["PATH", "PORT"].contains(name)) {
            assert!(!envs.contains_key(name), "{name}: {app}");
        }
        let boot = job(api, "boot").unwrap();
        assert_eq!(boot["respawn"], 0, "at the first go: {boot}");
        assert_eq!(boot["spec"]["envs"]["INIT_API"], api.to_string(), "{boot}");
        assert_eq!(boot["spec"]["envs"]["HOSTNAME"], "web-0", "{boot}");
        container.kill("TERM");
        let (code, said) = container.wait();
        assert_eq!(code, Some(0), "{said}");
    }

    // Where it is told that something is wrong, nothing is started.
    let [_, api] = image::free_addresses();
    let mut config = bundle.hardened();
    add(&mut config, "env", &["BOOTCTL_PROXY_LISTEN=nonsense", &format!("INIT_LISTEN={api}")]);
    let (code, said) = bundle.run(RUNTIMES[0], &config).wait();
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("--proxy-listen") && said.contains("0.0.0.0:80"), "{said}");
}

#[test]
fn images_oci_b28_a_host_that_has_waited_long_enough_ends_it_all() {
    let Some(bundle) = Bundle::make() else { return };
    let apps = apps("stubborn.toml", STUBBORN);
    // Docker's way, which is the runtime's, and that of who is in a hurry, which is init's.
    for (runtime, last) in [("crun", "KILL"), ("runc", "KILL"), ("crun", "TERM")] {
        let [proxy, api] = image::free_addresses();
        let mut config = bundle.hardened();
        bind(&mut config, "/etc/bootctl/apps", apps.path());
        add(&mut config, "env", &[&format!("INIT_LISTEN={api}")]);
        add(&mut config, "args", &["--proxy-listen", &proxy.to_string()]);
        let container = bundle.run(runtime, &config);
        wait::until_for(wait::PATIENCE * 3, "the app", || {
            job(api, "stubborn.1").filter(|job| job["status"] == "running")
        });
        let namespace = namespace_of(container.pid());
        container.kill("TERM");
        container.says("retiring stubborn.1");
        assert!(count_in(&namespace) > 2, "init waits for the app");
        container.kill(last);
        let (code, said) = container.wait();
        assert_eq!(code, Some(137), "{runtime} {last}: {said}");
        assert_eq!(count_in(&namespace), 0, "{runtime} {last}");
    }
}
