//! The files from which others' tools build images: each is built, and comes to what `make oci-image` makes.
//!
//! Bases come from nowhere here: in the place of Debian's and Node's stands one with a shell and what is run in it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use jobinit_tests::binaries::program;
use jobinit_tests::container::{Bundle, add, tool};
use jobinit_tests::{image, tools, wait};
use serde_json::Value;
use tempfile::TempDir;

const BASE: &str = "FROM scratch\nCOPY bin /bin\nCOPY sbin /usr/sbin\n";
const USERADD: &str = "#!/bin/sh\necho \"$@\" >/added\n";
/// What an image says of how it is to be run.
const SAYS: &[&str] = &["Entrypoint", "Cmd", "ExposedPorts", "Volumes", "StopSignal"];

/// Where images are while they are built, and what they are built from.
struct Builder(TempDir);

impl Builder {
    fn new() -> Self {
        let builder = Self(TempDir::new().unwrap());
        let context = builder.0.path().join("context");
        let programs = context.join("target/bin");
        fs::create_dir_all(&programs).unwrap();
        for name in ["init", "bootctl", "proxyd"] {
            fs::copy(program(name), programs.join(name)).unwrap();
        }
        let copied = Command::new("cp").arg("-R").arg(image::path("")).arg(&context).status();
        assert!(copied.unwrap().success());
        builder
    }

    /// A base in which a shell runs.
    fn base(&self) {
        let folder = self.0.path().join("base");
        let [bin, sbin] = ["bin", "sbin"].map(|name| folder.join(name));
        for folder in [&bin, &sbin] {
            fs::create_dir_all(folder).unwrap();
        }
        for name in ["sh", "mkdir"] {
            let script = format!("cp \"$(command -v busybox)\" {}", bin.join(name).display());
            assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
        }
        fs::write(sbin.join("useradd"), USERADD).unwrap();
        fs::set_permissions(sbin.join("useradd"), Permissions::from_mode(0o755)).unwrap();
        fs::write(folder.join("Containerfile"), BASE).unwrap();
        self.buildah(&["bud", "--isolation", "chroot", "-t", "base", folder.to_str().unwrap()]);
    }

    #[track_caller]
    fn buildah(&self, words: &[&str]) -> String {
        let place = |name: &str| self.0.path().join(name);
        let mut command = Command::new("buildah");
        command.args(["--storage-driver", "vfs", "--root"]).arg(place("images"));
        command.arg("--runroot").arg(place("run")).args(words);
        let output = command.current_dir(place("context")).output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Builds it, and tells what it says of itself.
    #[track_caller]
    fn build(&self, file: &str, more: &[&str]) -> Value {
        let file = format!("images/oci/{file}");
        let words = [&["bud", "--isolation", "chroot"], more, &["-t", "built", "-f", &file, "."]];
        self.buildah(&words.concat());
        let said = self.buildah(&["inspect", "--type", "image", "built"]);
        let said: Value = serde_json::from_str(&said).unwrap();
        said["OCIv1"]["config"].clone()
    }

    /// The image that was built last, as a layout.
    fn layout(&self) -> std::path::PathBuf {
        let layout = self.0.path().join("layout");
        self.buildah(&["push", "built", &format!("oci:{}:latest", layout.display())]);
        layout
    }
}

/// What `make oci-image` says of its image.
fn of_layout(layout: &Path) -> Value {
    let read = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let blob = |digest: &Value| {
        layout.join("blobs/sha256").join(digest.as_str().unwrap().strip_prefix("sha256:").unwrap())
    };
    let index = read(&layout.join("index.json"));
    let manifest = read(&blob(&index["manifests"][0]["digest"]));
    read(&blob(&manifest["config"]["digest"]))["config"].clone()
}

#[test]
fn images_oci_containerfiles_come_to_what_make_does() {
    if !tools::present(&["buildah", "busybox"]) {
        return;
    }
    let builder = Builder::new();
    let wanted = builder.0.path().join("wanted");
    let mut layout = image::script("oci/layout");
    layout.env("JOBINIT_IMAGE", &wanted);
    image::run(layout);
    let wanted = of_layout(&wanted);
    let is_as_wanted = |built: &Value, file: &str| {
        for key in SAYS {
            assert_eq!(built[key], wanted[key], "{key} of {file}: {built}");
        }
    };

    builder.base();
    let of_base = ["--from", "localhost/base"];
    for file in ["Containerfile.debian", "Containerfile.node"] {
        is_as_wanted(&builder.build(file, &of_base), file);
    }
    is_as_wanted(&builder.build("Containerfile", &[]), "Containerfile");

    // Without an app, and without anything of its host's: it is up, and says so.
    let Some(bundle) = Bundle::new(&builder.layout()) else { return };
    let mut config = bundle.hardened();
    let [proxy, api] = image::free_addresses();
    add(&mut config, "env", &[&format!("INIT_LISTEN={api}")]);
    add(&mut config, "args", &["--proxy-listen", &proxy.to_string()]);
    let container = bundle.run("crun", &config);
    wait::until_for(wait::PATIENCE * 3, "the supervisor", || {
        let mut exec = tool("crun");
        exec.args(["exec", "--user", "65534:65534", &container.name, "bootctl", "status"]);
        exec.output().unwrap().status.success().then_some(())
    });
    container.kill("TERM");
    let (code, said) = container.wait();
    assert_eq!(code, Some(0), "{said}");
}
