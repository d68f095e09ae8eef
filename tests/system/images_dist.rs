//! What is released: an archive that is the same for the same input, and from which one can install.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use jobinit_tests::binaries::program;
use jobinit_tests::{image, tools};
use serde_json::Value;
use tempfile::TempDir;

/// What is in it beside pages and completions.
const FILES: &[&str] = &[
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "NOTICES",
    "README.md",
    "api.md",
    "bin/bootctl",
    "bin/init",
    "bin/proxyd",
    "bootctl/BOOT.md",
    "bootctl/CONFIG.md",
    "jobinit.service",
    "proxyd/API.md",
    "share/bash-completion/completions/bootctl",
    "share/fish/vendor_completions.d/bootctl.fish",
    "share/man/man8/bootctl-deploy.8.gz",
    "share/man/man8/bootctl.8.gz",
    "share/zsh/site-functions/_bootctl",
];

#[track_caller]
fn run(script: &str, dist: &Path) {
    let mut script = image::script(script);
    script.env("JOBINIT_DIST", dist);
    image::run(script);
}

/// The only file whose name ends so.
#[track_caller]
fn one(folder: &Path, end: &str) -> PathBuf {
    let all = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    let mut found = all.filter(|path| path.to_string_lossy().ends_with(end));
    let first = found.next().expect("it was made");
    assert_eq!(found.next(), None);
    first
}

#[track_caller]
fn done(command: &mut Command) -> String {
    let output: Output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn images_dist_archive_is_the_same_again_and_can_be_installed_from() {
    let folder = TempDir::new().unwrap();
    let [dist, again] = ["dist", "again"].map(|name| folder.path().join(name));
    for dist in [&dist, &again] {
        fs::create_dir(dist).unwrap();
        fs::write(dist.join("NOTICES"), "of others\n").unwrap();
    }
    run("dist/archive", &dist);
    // By somebody with other habits.
    let mut script = Command::new("sh");
    script.args(["-c", "umask 077; exec \"$0\""]).arg(image::path("dist/archive"));
    script.env("JOBINIT_BIN", program("init").parent().unwrap()).env("JOBINIT_DIST", &again);
    done(script.env("LC_ALL", "C.UTF-8").env("TZ", "Asia/Tokyo"));
    let [archive, other] = [&dist, &again].map(|dist| one(dist, "-x86_64-linux.tar.gz"));
    assert!(fs::read(&archive).unwrap() == fs::read(other).unwrap(), "not the same");

    done(Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(folder.path()));
    let name = archive.file_name().unwrap().to_str().unwrap().trim_end_matches(".tar.gz");
    let tree = folder.path().join(name);
    let all =
        done(Command::new("find").args([".", "-type", "f", "-printf", "%P\n"]).current_dir(&tree));
    let all: BTreeSet<&str> = all.lines().collect();
    for file in FILES {
        assert!(all.contains(file), "{file} in {all:?}");
    }
    let owners = done(Command::new("tar").args(["--numeric-owner", "-tzvf"]).arg(&archive));
    assert!(owners.lines().all(|line| line.split_whitespace().nth(1) == Some("0/0")), "{owners}");
    let root = folder.path().join("root");
    fs::create_dir(&root).unwrap();
    done(Command::new(tree.join("bin/bootctl")).args(["install", "--image"]).arg(&root));
    assert!(root.join("usr/lib/jobinit/proxyd").exists());
}

#[test]
fn images_dist_notices_have_a_licence_of_everything_that_is_built_in() {
    let folder = TempDir::new().unwrap();
    run("dist/notices", folder.path());
    let notices = fs::read_to_string(folder.path().join("NOTICES")).unwrap();
    let rule = "=".repeat(100);
    let sections: Vec<&str> = notices.split(&rule).skip(1).collect();
    assert!(sections.len() > 80, "{}", sections.len());
    for section in sections {
        let (head, text) = section.trim_start().split_once('\n').unwrap();
        assert!(head.contains(" (") && text.trim().len() > 400, "{head}: {text}");
    }
    for crate_name in ["\nhyper ", "\ntokio ", "\nring ", "\nrustls "] {
        assert!(notices.contains(crate_name), "{crate_name}");
    }
}

#[test]
fn images_dist_says_what_each_program_is_made_of() {
    if !tools::present(&["cargo-cyclonedx"]) {
        return;
    }
    let folder = TempDir::new().unwrap();
    let [dist, again] = ["dist", "again"].map(|name| folder.path().join(name));
    run("dist/sbom", &dist);
    run("dist/sbom", &again);
    for (program, crates) in [
        ("init", ["hyper", "nix"]),
        ("bootctl", ["axum", "toml_edit"]),
        ("proxyd", ["rustls", "h2"]),
    ] {
        let name = format!("{program}.cdx.json");
        let text = fs::read_to_string(dist.join(&name)).unwrap();
        assert_eq!(text, fs::read_to_string(again.join(&name)).unwrap());
        assert!(!text.contains(env!("CARGO_MANIFEST_DIR")), "no path of who has built it");
        let made_of: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(made_of["bomFormat"], "CycloneDX");
        assert_eq!(made_of["metadata"]["component"]["name"], program);
        let components = made_of["components"].as_array().unwrap();
        for name in crates {
            let found = components.iter().find(|component| component["name"] == name);
            let found = found.unwrap_or_else(|| panic!("{name} in {program}"));
            assert!(found["purl"].as_str().unwrap().starts_with("pkg:cargo/"), "{found}");
            assert!(found["licenses"].is_array() && found["hashes"].is_array(), "{found}");
        }
    }
}
