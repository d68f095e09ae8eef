//! What bootctl keeps on disk, reads from there and listens on, when all of that goes wrong. It is told of, costs
//! no app, and is over when its cause is.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::process::Command;

use jobinit_tests::bootctl::Site;
use jobinit_tests::wait;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::bootctl_apps::{answers, kill};

/// A small file system over a folder of a site, as long as it is held.
struct Small<'a> {
    site: &'a Site,
    folder: &'static str,
}

impl<'a> Small<'a> {
    /// With what was in the folder before.
    fn over(site: &'a Site, folder: &'static str) -> Self {
        let path = site.folder().join(folder);
        let before = tempfile::tempdir().expect("a folder");
        copy(&path, before.path());
        let bounds = Some("size=64k");
        mount(Some("tmpfs"), &path, Some("tmpfs"), MsFlags::empty(), bounds).expect("root may");
        copy(before.path(), &path);
        Self { site, folder }
    }

    /// Leaves no room in it.
    fn fill(&self) {
        let mut ballast = fs::File::create(self.ballast()).expect("there is room for a name");
        while ballast.write_all(&[0; 4096]).is_ok() {}
        while ballast.write_all(&[0]).is_ok() {}
    }

    fn ease(&self) {
        fs::remove_file(self.ballast()).expect("it is there");
    }

    fn remount(&self, flags: MsFlags) {
        let path = self.site.folder().join(self.folder);
        mount(None::<&str>, &path, None::<&str>, MsFlags::MS_REMOUNT | flags, None::<&str>)
            .expect("root may");
    }

    fn ballast(&self) -> std::path::PathBuf {
        self.site.folder().join(self.folder).join("ballast")
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let path = self.site.folder().join(self.folder);
        umount2(&path, MntFlags::MNT_DETACH).expect("it is mounted");
    }
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    for entry in fs::read_dir(from).into_iter().flatten().flatten() {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir_all(&to).expect("made");
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("copied");
        }
    }
}

/// A site with an app of two instances that runs, and their processes.
fn site() -> (Site, Vec<u64>) {
    let site = Site::boot(&[("a.toml", &answers(2, ""))]);
    site.wait_for("a", "running");
    let pids = site.pids("a");
    (site, pids)
}

#[test]
fn o15_a_full_or_read_only_state_folder_changes_nothing_and_says_so() {
    let (site, pids) = site();
    site.done(&["restart", "a"]);
    let restarted = site.pids("a");
    assert_ne!(restarted, pids);
    let small = Small::over(&site, "state");
    let refused = |words: &[&str], why: &str| {
        let said = site.bootctl(words);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(
            said.err.contains("state.json cannot be written, so nothing was changed"),
            "{said:?}"
        );
        assert!(said.err.contains(why), "{said:?}");
        assert_eq!(site.pids("a"), restarted, "{words:?}");
        assert_eq!(site.get("a", "/").status, 200);
    };
    small.fill();
    refused(&["stop", "a"], "No space left");
    refused(&["restart", "a"], "No space left");
    small.ease();
    small.remount(MsFlags::MS_RDONLY);
    refused(&["stop", "a"], "Read-only file system");
    // It boots all the same, and knows what was kept.
    kill(site.supervisor());
    site.wait_for("a", "running");
    assert_eq!(site.pids("a"), restarted);
    small.remount(MsFlags::empty());
    site.done(&["stop", "a"]);
    assert_eq!(site.pids("a").len(), 0);
}

#[test]
fn o07_a_full_config_folder_keeps_the_file_whole() {
    let (site, pids) = site();
    let small = Small::over(&site, "conf/apps");
    let text = fs::read_to_string(site.folder().join("conf/apps/a.toml")).expect("there");
    small.fill();
    let said = site.bootctl(&["scale", "a", "5"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("a.toml cannot be written, so nothing was changed"), "{said:?}");
    assert_eq!(site.pids("a"), pids);
    let now = fs::read_to_string(site.folder().join("conf/apps/a.toml")).expect("there");
    assert_eq!(now, text);
    small.ease();
    site.done(&["scale", "a", "1"]);
    let names = fs::read_dir(site.folder().join("conf/apps")).expect("there").count();
    assert_eq!(names, 1, "nothing is left over");
}

#[test]
fn o15_a_state_file_that_cannot_be_understood_costs_no_app() {
    let (site, pids) = site();
    let path = site.folder().join("state/state.json");
    for bad in ["{\"version\": 2, \"apps\": {", "\0\0\0\0", "{\"version\": 77, \"apps\": {}}", ""] {
        fs::create_dir_all(site.folder().join("state")).expect("made");
        fs::write(&path, bad).expect("written");
        site.kill_supervisor();
        site.wait_for("a", "running");
        assert_eq!(site.pids("a"), pids, "{bad:?}");
        let kept = fs::read_to_string(site.folder().join("state/state.json.refused"));
        assert_eq!(kept.expect("it is kept"), bad);
    }
    site.done(&["stop", "a"]);
    site.done(&["start", "a"]);
}

#[test]
fn o15_a_control_socket_that_is_pestered_answers_others() {
    let (site, _) = site();
    let crowd: Vec<UnixStream> =
        (0..1000).map_while(|_| UnixStream::connect(site.socket()).ok()).collect();
    assert!(crowd.len() > 500, "{}", crowd.len());
    for (number, mut stream) in crowd.iter().enumerate() {
        let piece: &[u8] = match number % 4 {
            0 => b"PUT /apps/a/st",
            1 => b"\0\xff\x16\x03\x01 garbage \r\n\r\n",
            2 => b"PUT /reload HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n",
            _ => b"",
        };
        // It may have been shown the door already.
        drop(stream.write_all(piece));
        if number % 3 == 0 {
            drop(stream.shutdown(Shutdown::Write));
        }
    }
    assert_eq!(site.bootctl(&["status"]).code, Some(0));
    drop(crowd);
    site.done(&["restart", "a"]);
    assert_eq!(site.get("a", "/").status, 200);
    for (request, status) in [
        ("GET /status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(), "200"),
        ("DELETE /status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".into(), "405"),
        (format!("GET /apps/{} HTTP/1.1\r\nConnection: close\r\n\r\n", "%00".repeat(900)), "404"),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1 << 20)), "4"),
    ] {
        let mut stream = UnixStream::connect(site.socket()).expect("it listens");
        stream.set_read_timeout(Some(wait::PATIENCE)).expect("a socket option");
        drop(stream.write_all(request.as_bytes()));
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        let answer = String::from_utf8_lossy(&answer);
        let start = format!("HTTP/1.1 {status}");
        assert!(answer.starts_with(&start) || answer.is_empty() && status == "4", "{answer}");
    }
}

#[test]
fn o15_a_supervisor_out_of_descriptors_goes_on_when_there_are_some() {
    let (site, pids) = site();
    let limit = |soft: &str| {
        let pid = format!("--pid={}", site.supervisor());
        let nofile = format!("--nofile={soft}:4096");
        let done = Command::new("prlimit").args([pid, nofile]).status().expect("util-linux");
        assert!(done.success());
    };
    let held: Vec<UnixStream> =
        (0..40).map(|_| UnixStream::connect(site.socket()).expect("it listens")).collect();
    limit("16");
    // Nobody is served now, and nothing is lost.
    let said = site.bootctl(&["restart", "a", "--timeout", "1"]);
    assert_ne!(said.code, Some(0), "{said:?}");
    assert_eq!(site.get("a", "/").status, 200);
    drop(held);
    limit("1024");
    wait::until("it to answer", || (site.bootctl(&["status"]).code == Some(0)).then_some(()));
    site.done(&["restart", "a"]);
    assert_ne!(site.pids("a"), pids);
}

#[test]
fn z01_files_that_are_none_are_problems_of_their_own() {
    let (site, pids) = site();
    let apps = site.folder().join("conf/apps");
    mkfifo(&apps.join("fifo.toml"), Mode::from_bits_truncate(0o600)).expect("made");
    let said = site.bootctl(&["reload", "--timeout", "5"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("fifo.toml"), "{said:?}");
    fs::create_dir(apps.join("folder.toml")).expect("made");
    symlink("/nowhere", apps.join("dead.toml")).expect("linked");
    symlink("loop.toml", apps.join("loop.toml")).expect("linked");
    fs::write(apps.join("latin.toml"), b"exec = \"\xe4\"\n").expect("written");
    fs::write(apps.join("proxyd.toml"), answers(1, "")).expect("written");
    fs::write(apps.join("large.toml"), vec![b'#'; 10 << 20]).expect("written");
    let said = site.bootctl(&["reload"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    for name in ["fifo", "folder", "dead", "loop", "latin", "proxyd", "large"] {
        assert!(said.err.contains(&format!("{name}.toml")), "{name}: {said:?}");
    }
    assert_eq!(site.pids("a"), pids);
    // The same at boot: what is broken is nobody else's trouble.
    kill(site.supervisor());
    site.wait_for("a", "running");
    assert_eq!(site.pids("a"), pids);
    for entry in fs::read_dir(&apps).expect("there").flatten() {
        if entry.path().is_dir() {
            fs::remove_dir(entry.path()).expect("removed");
        } else if entry.file_name() != "a.toml" {
            fs::remove_file(entry.path()).expect("removed");
        }
    }
    site.done(&["reload"]);
    fs::rename(&apps, site.folder().join("conf/aside")).expect("renamed");
    fs::write(&apps, "").expect("written");
    let said = site.bootctl(&["reload"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("nothing was changed"), "{said:?}");
    assert_eq!(site.pids("a"), pids);
    fs::remove_file(&apps).expect("removed");
    fs::rename(site.folder().join("conf/aside"), &apps).expect("renamed");
    site.done(&["reload"]);
    assert_eq!(site.pids("a"), pids);
}

#[test]
fn z01_a_thousand_files_are_taken_over_and_dropped_again() {
    let (site, pids) = site();
    for number in 0..1000 {
        site.write(&format!("app{number}.test.toml"), &answers(0, ""));
    }
    site.done(&["reload"]);
    let status = site.status();
    assert_eq!(status["apps"].as_array().map(Vec::len), Some(1001));
    assert_eq!(site.get("app999.test", "/").status, 503);
    for number in 0..1000 {
        site.remove(&format!("app{number}.test.toml"));
    }
    site.done(&["reload"]);
    assert_eq!(site.get("app999.test", "/").status, 404);
    assert_eq!(site.pids("a"), pids);
}
