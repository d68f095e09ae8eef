//! The binaries as an OCI container: init is PID 1 of what crun makes.

use std::net::{SocketAddr, TcpStream};
use std::process::{self, Child, Stdio};

use jobinit_tests::container::{count_in, namespace_of};
use jobinit_tests::{http, image, tools, wait};
use nix::unistd::Uid;
use serde_json::Value;
use tempfile::TempDir;

/// A running container, deleted with the test.
struct Container {
    crun: Child,
    name: String,
    proxy: SocketAddr,
    api: SocketAddr,
    _folder: TempDir,
}

impl Container {
    /// Runs it; `None` where it cannot be.
    fn run() -> Option<Self> {
        if !tools::present(&["crun"]) {
            return None;
        }
        if !Uid::effective().is_root() {
            tools::skip("only root can run the container");
            return None;
        }
        let folder = TempDir::new().unwrap();
        let bundle = folder.path().join("bundle");
        let [proxy, api] = image::free_addresses();
        let mut assemble = image::script("oci/bundle");
        assemble.env("JOBINIT_BUNDLE", &bundle);
        assemble.env("PROXY_PORT", proxy.port().to_string());
        assemble.env("API_PORT", api.port().to_string());
        image::run(assemble);
        let name = format!("jobinit-test-{}", process::id());
        let mut crun = image::script("oci/run");
        crun.env("JOBINIT_BUNDLE", &bundle).arg(&name).stdin(Stdio::null());
        let crun = crun.spawn().unwrap();
        Some(Self { crun, name, proxy, api, _folder: folder })
    }

    fn page(&self) -> Option<http::Answer> {
        let request = "GET / HTTP/1.1\r\nHost: hello.localhost\r\nConnection: close\r\n\r\n";
        let bytes = http::raw(self.proxy, request.as_bytes()).ok()?;
        http::Answer::parse(&bytes).filter(|answer| answer.status == 200)
    }

    fn tell(&self, words: &[&str]) -> bool {
        let mut crun = image::script("oci/crun");
        crun.args(words).arg(&self.name);
        crun.status().is_ok_and(|status| status.success())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if self.crun.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.tell(&["delete", "--force"]);
            let _ = self.crun.wait();
        }
    }
}

#[test]
fn images_oci_runs_and_winds_down() {
    let Some(mut container) = Container::run() else { return };

    let page = wait::until("the app's page", || container.page());
    assert!(page.body.contains("app: hello.localhost\n"), "{page:?}");
    let init = http::request(container.api, "GET", "/job/init", "", "").json();
    assert_eq!(init["pid"], 1, "{init}");

    let state = image::script("oci/crun").args(["state", &container.name]).output().unwrap();
    let state: Value = serde_json::from_slice(&state.stdout).unwrap();
    let namespace = namespace_of(state["pid"].as_u64().unwrap().try_into().unwrap());
    assert!(count_in(&namespace) > 3, "init, bootctl, the proxy, apps");
    let mut crun = image::script("oci/crun");
    let told = crun.args(["kill", &container.name, "TERM"]).status().unwrap();
    assert!(told.success(), "{told}");
    let status = wait::until("the container's end", || container.crun.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    assert_eq!(count_in(&namespace), 0);
    for address in [container.proxy, container.api] {
        assert!(TcpStream::connect(address).is_err(), "{address} still listens");
    }
    let mut crun = image::script("oci/crun");
    let list = crun.args(["list", "-q"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&list.stdout).contains(&container.name), "{list:?}");
}
