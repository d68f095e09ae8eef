//! The binaries as a whole virtual machine: the kernel execs init, which execs bootctl.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use jobinit_tests::machine::{Machine, Setup};
use jobinit_tests::{http, tools, wait};
use serde_json::{Value, json};
use tempfile::TempDir;

#[test]
fn images_vm_b03_d04_boots_serves_and_powers_off_at_level_0() {
    let Some(machine) = Machine::boot(&Setup::default()) else { return };

    let jobs = machine.first_answer(machine.api, "127.0.0.1", "/jobs").json();
    let boot = jobs.as_array().unwrap().iter().find(|job| job["id"] == "boot").unwrap();
    assert_eq!(boot["spec"]["exec"], "bootctl", "from the kernel command line: {boot}");
    assert_eq!(boot["spec"]["args"][0], "boot", "{boot}");
    let init = machine.first_answer(machine.api, "127.0.0.1", "/job/init").json();
    assert_eq!(init["pid"], 1, "{init}");
    let page = machine.first_answer(machine.proxy, "hello.localhost", "/");
    assert!(page.body.contains("app: hello.localhost\n"), "{page:?}");

    // Level 0: all apps are stopped, and then the machine is off.
    let spec = json!({"exec": "bootctl", "args": ["telinit", "0"], "envs": boot["spec"]["envs"]});
    let json = "Content-Type: application/json\r\n";
    let end = http::request(machine.api, "PUT", "/job/level-0", json, &spec.to_string());
    assert_eq!(end.status, 201, "{end:?}");
    let (status, console) = machine.wait();
    assert!(status.success(), "{status}");
    assert!(console.contains("Power down") && !console.contains("panic"), "{console}");
}

#[test]
fn images_vm_i10_the_first_process_becomes_another() {
    let setup = Setup { shell: true, ..Setup::default() };
    let Some(machine) = Machine::boot(&setup) else { return };

    machine.first_answer(machine.proxy, "hello.localhost", "/healthz");
    let pids = || -> Vec<_> {
        let jobs = machine.first_answer(machine.api, "127.0.0.1", "/jobs").json();
        let pid = |job: &Value| (job["id"].clone(), job["pid"].clone());
        jobs.as_array().unwrap().iter().map(pid).filter(|(id, _)| id != "waits").collect()
    };
    let before = pids();
    assert!(before.iter().any(|(id, pid)| id == "boot" && pid.is_u64()), "{before:?}");
    let api = machine.api;
    thread::scope(|scope| {
        let spec = json!({
            "exec": "/usr/bin/busybox", "args": ["sh", "-c", "read line; exit 7"], "stdin": "pipe",
        });
        let json = "Content-Type: application/json\r\n";
        let waiting = scope.spawn(move || {
            let spec = spec.to_string();
            http::request(api, "PUT", "/job/waits?wait=exit", json, &spec)
        });
        wait::until("its process", || {
            let job = http::request(machine.api, "GET", "/job/waits", "", "");
            (job.status == 200 && job.json()["status"] == "running").then_some(())
        });
        for round in 1..=2 {
            let answer = http::request(machine.api, "PUT", "/job/init/restart", "", "");
            assert_eq!((answer.status, &answer.json()["pid"]), (200, &json!(1)), "{answer:?}");
            machine.shows("going on where init", round);
            assert_eq!(pids(), before);
        }
        http::request(machine.api, "PUT", "/job/waits/stdin", "", "line\n");
        let answer = waiting.join().unwrap();
        assert_eq!((answer.status, &answer.json()["lastExit"]), (201, &json!(7)), "{answer:?}");
    });
    machine.first_answer(machine.proxy, "hello.localhost", "/healthz");
    let end = http::request(machine.api, "PUT", "/job/init/stop?then=poweroff", "", "");
    assert_eq!(end.status, 202, "{end:?}");
    let (status, console) = machine.wait();
    assert!(status.success(), "{status}");
    assert!(console.contains("Power down") && !console.contains("panic"), "{console}");
}

#[test]
fn images_vm_i17_ctrl_alt_del_reboots() {
    let Some(machine) = Machine::boot(&Setup::default()) else { return };

    machine.first_answer(machine.proxy, "hello.localhost", "/healthz");
    let _open_until_the_keys_are_up = machine.monitor("sendkey ctrl-alt-delete");
    // It was told not to boot again.
    let (status, console) = machine.wait();
    assert!(status.success(), "{status}");
    assert!(console.contains("Restarting system") && !console.contains("panic"), "{console}");
}

#[test]
fn images_vm_i17_reboot_by_the_api() {
    let Some(machine) = Machine::boot(&Setup::default()) else { return };

    machine.first_answer(machine.api, "127.0.0.1", "/job/init");
    assert_eq!(http::request(machine.api, "PUT", "/job/init/stop?then=reboot", "", "").status, 202);
    let (status, console) = machine.wait();
    assert!(status.success(), "{status}");
    assert!(console.contains("Restarting system") && !console.contains("panic"), "{console}");
}

#[test]
fn images_vm_i17_the_power_button_powers_off() {
    let Some(machine) = Machine::boot(&Setup::default()) else { return };

    machine.first_answer(machine.proxy, "hello.localhost", "/healthz");
    let _open = machine.monitor("system_powerdown");
    let (status, console) = machine.wait();
    assert!(status.success(), "{status}");
    assert!(console.contains("the power button was pressed"), "{console}");
    assert!(console.contains("Power down") && !console.contains("panic"), "{console}");
}

#[test]
fn images_vm_i17_a_disk_is_left_clean() {
    if !tools::present(&["/usr/sbin/mkfs.ext4", "/usr/sbin/e2fsck", "/usr/sbin/debugfs"]) {
        return;
    }
    let folder = TempDir::new().unwrap();
    let disk = folder.path().join("disk");
    std::fs::File::create(&disk).unwrap().set_len(32 << 20).unwrap();
    let made = Command::new("/usr/sbin/mkfs.ext4").arg("-q").arg(&disk).status().unwrap();
    assert!(made.success());
    let setup = Setup { shell: true, disks: &[&disk], ..Setup::default() };
    let Some(machine) = Machine::boot(&setup) else { return };

    machine.first_answer(machine.api, "127.0.0.1", "/job/init");
    let mount = "mkdir -p /run/a /run/a/b; mount -t ext4 /dev/vda /run/a && mkdir -p /run/a/b && \
                 mount -t tmpfs none /run/a/b && echo kept >/run/a/file";
    // In init's own mount namespace, as a job is.
    assert_eq!(machine.run(mount, &json!({}))["lastExit"], 0);
    // A writer that goes on to the end, with the file open.
    let spec = json!({
        "exec": "/usr/bin/busybox", "stop": {"timeout_ms": 500},
        "args": ["sh", "-c", "trap '' TERM; exec >>/run/a/file; while :; do echo more; done"],
    });
    let json = "Content-Type: application/json\r\n";
    let answer = http::request(machine.api, "PUT", "/job/writer", json, &spec.to_string());
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(
        http::request(machine.api, "PUT", "/job/init/stop?then=poweroff", "", "").status,
        202
    );
    let (status, console) = machine.wait();
    assert!(status.success() && !console.contains("panic"), "{console}");

    let header = Command::new("/usr/sbin/dumpe2fs").arg("-h").arg(&disk).output().unwrap();
    let header = String::from_utf8_lossy(&header.stdout).into_owned();
    assert!(header.contains("Filesystem state:         clean"), "{header}");
    assert!(!header.contains("needs_recovery"), "{header}");
    let check = Command::new("/usr/sbin/e2fsck").args(["-n", "-f"]).arg(&disk).output().unwrap();
    assert!(check.status.success(), "{check:?}");
    let file =
        Command::new("/usr/sbin/debugfs").args(["-R", "cat /file"]).arg(&disk).output().unwrap();
    let file = String::from_utf8_lossy(&file.stdout).into_owned();
    assert!(file.starts_with("kept\nmore\n"), "{:?}", file.get(..100));
}

#[test]
fn images_vm_i17_halt_stands_still() {
    let setup = Setup { words: Some("--watchdog 5 bootctl boot"), ..Setup::default() };
    let Some(mut machine) = Machine::boot(&setup) else { return };

    machine.first_answer(machine.api, "127.0.0.1", "/job/init");
    assert_eq!(http::request(machine.api, "PUT", "/job/init/stop?then=halt", "", "").status, 202);
    let console = machine.shows("System halted", 1);
    assert!(!console.contains("panic"), "{console}");
    // For longer than the watchdog has waited before.
    let halted = Instant::now();
    while halted.elapsed() < Duration::from_secs(7) {
        assert!(machine.qemu.try_wait().unwrap().is_none(), "the machine is still on");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn images_vm_b04_a_boot_that_fails_is_no_panic() {
    for (words, said) in [
        ("/no/such/program", "cannot start `/no/such/program`: exec failed"),
        ("--grace 5 /usr/bin/busybox sh -c nosuchcommand", "nosuchcommand: not found"),
    ] {
        let setup = Setup { words: Some(words), shell: true, ..Setup::default() };
        let Some(machine) = Machine::boot(&setup) else { return };
        let console = machine.shows(said, 4);
        assert!(!console.contains("panic"), "{console}");
        let times: Vec<f64> = console
            .lines()
            .filter(|line| line.contains(said))
            .map(|line| line.split_whitespace().next().unwrap().parse().unwrap())
            .collect();
        let gaps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps[2] > gaps[0], "each time it waits for longer: {gaps:?}");
    }
}

#[test]
fn images_vm_b03_no_word_of_the_kernels_keeps_it_from_booting() {
    let junk = "a=".to_owned() + &"x".repeat(900);
    let words = format!(
        "--listen nonsense --grace x --fly --auth token --watchdog = splash quiet= {junk} -b \
         --boot-exit=never quiet= bootctl boot"
    );
    let setup = Setup { words: Some(&words), ..Setup::default() };
    let Some(machine) = Machine::boot(&setup) else { return };
    machine.shows("of the kernel's command line: --listen nonsense", 1);
    machine.shows("listening on 127.0.0.1:1", 1);
    // Tokens are insisted on and there are none: closed to all, and that is said.
    machine.shows("--auth token needs --token-file", 1);
    machine.shows("early boot", 1);
    assert!(!machine.console().contains("panic"));
}

#[test]
fn images_vm_i05_the_watchdog_resets_a_machine_whose_init_hangs() {
    let setup = Setup { words: Some("--watchdog 3 bootctl boot"), shell: true, ..Setup::default() };
    let Some(machine) = Machine::boot(&setup) else { return };

    machine.first_answer(machine.api, "127.0.0.1", "/job/init");
    machine.shows("/dev/watchdog resets the machine after 3 s of silence", 1);
    // Alive for longer than it would be without a word.
    let alive = Instant::now();
    while alive.elapsed() < Duration::from_secs(8) {
        machine.first_answer(machine.api, "127.0.0.1", "/job/init");
        thread::sleep(Duration::from_millis(200));
    }
    // Frozen, init does nothing any more; nothing else can stop it.
    let freeze =
        "cd /sys/fs/cgroup; mkdir ice; echo 1 >ice/cgroup.procs; echo 1 >ice/cgroup.freeze";
    let json = "Content-Type: application/json\r\n";
    let spec = json!({"exec": "/usr/bin/busybox", "args": ["sh", "-c", freeze], "envs": {"PATH": "/usr/bin"}});
    let answer = http::request(machine.api, "PUT", "/job/freeze", json, &spec.to_string());
    assert_eq!(answer.status, 201, "{answer:?}");
    // It was told not to boot again.
    let (status, console) = machine.wait();
    assert!(status.success() && console.contains("softdog"), "{status} {console}");
}

#[test]
fn images_vm_i06_limits_hold_and_are_named() {
    let setup = Setup { shell: true, ..Setup::default() };
    let Some(machine) = Machine::boot(&setup) else { return };
    machine.first_answer(machine.api, "127.0.0.1", "/job/init");

    // A buffer of 40 MB.
    let eater = "dd if=/dev/zero of=/dev/null bs=40M count=1 2>/dev/null";
    let job = machine.run(eater, &json!({"cgroup": {"memory_max": 100_000_000}}));
    assert_eq!(job["lastExit"], 0, "{job}");
    let job = machine.run(
        &format!("exec {eater}"),
        &json!({"cgroup": {"memory_max": 10_000_000, "memory_swap_max": 0}}),
    );
    assert_eq!((&job["lastExit"], &job["status"]), (&json!("OOM"), &json!("failed")), "{job}");
    assert!(job["why"].as_str().unwrap().contains("memory"), "{job}");

    // A bound that is too small even to be exec'ed in costs the job, and nobody else.
    let job = machine.run("sleep 5", &json!({"cgroup": {"memory_max": 1}}));
    assert_eq!(job["lastExit"], "OOM", "{job}");
    let forks = "for i in 1 2 3 4 5 6; do sleep 100 & done; wait";
    let job = machine.run(forks, &json!({"cgroup": {"pids_max": 3}}));
    assert_eq!(job["lastExit"], 2, "the shell cannot fork: {job}");
    let check = "cat /sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup)/cpu.max | grep -q '^50000 100000$'";
    let job = machine.run(check, &json!({"cgroup": {"cpu_max": "50000 100000"}}));
    assert_eq!(job["lastExit"], 0, "{job}");
    // The run before has left nothing behind.
    let job = machine.run("ls -d /sys/fs/cgroup/jobs/job-*", &json!({}));
    assert_ne!(job["lastExit"], 0, "{job}");

    // What only full power can do.
    // init has its own value when it has started nobody for a while.
    let init = "sleep 1; grep -q ^-1000$ /proc/1/oom_score_adj";
    assert_eq!(machine.run(init, &json!({}))["lastExit"], 0);
    // Many at once, with different ones; from inside, because QEMU forwards only a few connections
    // at once.
    let many = r#"
        rm -f /tmp/bad
        for n in 1 2 3 4 5 6; do for wanted in 0 -500 0 300; do
            check="grep -q ^$wanted\$ /proc/self/oom_score_adj"
            spec='{"exec":"/usr/bin/busybox","args":["sh","-c","'$check'"],"envs":{"PATH":"/usr/bin"}'
            [ $wanted = 0 ] || spec=$spec,'"oom_score_adj":'$wanted
            (wget -q -O- --header 'Content-Type: application/json' --post-data "$spec}" \
                'http://127.0.0.1:1/job?wait=exit' | grep -q '"lastExit":0' || touch /tmp/bad) &
        done; done
        wait
        [ ! -e /tmp/bad ]"#;
    for _ in 0..3 {
        let job = machine.run(many, &json!({}));
        assert_eq!(job["lastExit"], 0, "{job}");
    }
    assert_eq!(machine.run(init, &json!({}))["lastExit"], 0);
    let more = json!({"rlimits": {"nofile": 900_000, "memlock": "unlimited"}});
    assert_eq!(machine.run("test $(ulimit -n) = 900000", &more)["lastExit"], 0);

    // The clock jumps: what waits goes on waiting as long as it would have.
    let json = "Content-Type: application/json\r\n";
    let spec = json!({
        "exec": "/usr/bin/busybox", "args": ["false"],
        "restart": {"policy": "always", "delay_ms": 300, "factor": 1},
    });
    http::request(machine.api, "PUT", "/job/respawning", json, &spec.to_string());
    for clock in ["2001-01-01 00:00:00", "2037-01-01 00:00:00"] {
        let set = machine.run(&format!("date -s '{clock}' >/dev/null"), &json!({}));
        assert_eq!(set["lastExit"], 0, "{set}");
        let respawn = || {
            let job = http::request(machine.api, "GET", "/job/respawning", "", "").json();
            job["respawn"].as_u64().unwrap()
        };
        let before = respawn();
        wait::until("restarts", || (respawn() > before + 2).then_some(()));
    }
}
