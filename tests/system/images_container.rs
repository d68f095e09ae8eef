//! The OCI image: the same from the same binaries, small, and running where nearly everything is forbidden: as
//! nobody, without a capability, on a root that cannot be written, behind the usual list of system calls.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use jobinit_tests::container::{Bundle, NOBODY, RUNTIMES, add, bind, tool};
use jobinit_tests::{http, image, wait};
use serde_json::json;
use tempfile::TempDir;

/// With what is in it compressed, as it is pulled.
const LARGEST: u64 = 12 << 20;
const HELLO: &str = "exec = \"/demo/demo-hello\"\n[health]\nhttp = \"/healthz\"\n";
/// Has to be killed, half a second after it was asked to end.
const STUBBORN: &str = "exec = \"/demo/busybox\"\nweb = false
args = [\"sh\", \"-c\", \"trap '' TERM; while :; do sleep 1; done\"]\n[stop]\ntimeout = \"500ms\"\n";

fn assemble(folder: &Path) -> u64 {
    let mut layout = image::script("oci/layout");
    layout.env("JOBINIT_IMAGE", folder);
    image::run(layout);
    let blobs = fs::read_dir(folder.join("blobs/sha256")).unwrap().flatten();
    blobs.map(|blob| blob.metadata().unwrap().len()).sum()
}

fn hello(proxy: SocketAddr) -> Option<http::Answer> {
    let request = "GET / HTTP/1.1\r\nHost: hello.localhost\r\nConnection: close\r\n\r\n";
    let answer = http::Answer::parse(&http::raw(proxy, request.as_bytes()).ok()?)?;
    (answer.status == 200).then_some(answer)
}

#[test]
fn images_oci_i16_the_image_is_small_always_the_same_and_content_with_nothing() {
    let folder = TempDir::new().unwrap();
    let [one, other] = ["one", "other"].map(|name| folder.path().join(name));
    let size = assemble(&one);
    assert!(size <= LARGEST, "{size} bytes");
    assemble(&other);
    let index = |layout: &Path| fs::read_to_string(layout.join("index.json")).unwrap();
    assert_eq!(index(&one), index(&other));

    let Some(bundle) = Bundle::new(&one) else { return };
    let args = &bundle.as_made()["process"]["args"];
    assert_eq!(*args, json!(["/sbin/init", "--", "bootctl", "boot"]));
    let apps = folder.path().join("apps");
    fs::create_dir(&apps).unwrap();
    fs::write(apps.join("hello.localhost.toml"), HELLO).unwrap();
    fs::write(apps.join("stubborn.toml"), STUBBORN).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(folder.path(), mode).unwrap();

    for runtime in RUNTIMES {
        let [proxy, api] = image::free_addresses();
        let mut config = bundle.hardened();
        bind(&mut config, "/etc/bootctl/apps", &apps);
        add(&mut config, "env", &[&format!("INIT_LISTEN={api}")]);
        add(&mut config, "args", &["--proxy-listen", &proxy.to_string()]);

        let container = bundle.run(runtime, &config);
        let page = wait::until_for(wait::PATIENCE * 3, "the app's page", || hello(proxy));
        assert!(page.body.contains("app: hello.localhost\n"), "{page:?}");
        let status = fs::read_to_string(format!("/proc/{}/status", container.pid())).unwrap();
        let said: BTreeSet<&str> = status.lines().collect();
        for line in ["NoNewPrivs:\t1", "CapEff:\t0000000000000000", "Seccomp:\t2"] {
            assert!(said.contains(line), "{line} in {status}");
        }
        // As a probe asks, inside.
        let user = format!("{NOBODY}:{NOBODY}");
        let probe = tool(runtime)
            .args(["exec", "--user", &user, &container.name, "bootctl", "status"])
            .output()
            .unwrap();
        assert!(probe.status.success(), "{probe:?}");

        container.kill("TERM");
        let (code, said) = container.wait();
        assert_eq!(code, Some(0), "{said}");
        let at = |text: &str| said.find(text).unwrap_or_else(|| panic!("{text} in {said}"));
        for app in ["retiring hello.localhost.1", "retiring stubborn.1"] {
            assert!(at("winding down") < at(app) && at(app) < at("stopping proxyd"), "{said}");
        }
    }
}
