//! What `install` puts where, on a host and into an image, and `uninstall` takes away again.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use jobinit_tests::binaries::program;
use jobinit_tests::pty::Pty;
use jobinit_tests::tools::present;
use jobinit_tests::verbs;
use tempfile::TempDir;

/// The three programs in one folder, as an archive of them is unpacked, and an empty root.
fn unpacked() -> (TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let (from, root) = (folder.path().join("jobinit"), folder.path().join("root"));
    for folder in [&from, &root] {
        fs::create_dir(folder).expect("made");
    }
    for name in ["init", "bootctl", "proxyd"] {
        fs::copy(program(name), from.join(name)).expect("copied");
    }
    (folder, from, root)
}

fn bootctl(from: &Path, words: &[&str]) -> Output {
    Command::new(from.join("bootctl")).args(words).output().expect("it runs")
}

#[track_caller]
fn done(from: &Path, words: &[&str]) -> String {
    let output = bootctl(from, words);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[track_caller]
fn refused(from: &Path, words: &[&str]) -> String {
    let output = bootctl(from, words);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).expect("UTF-8")
}

/// All paths below.
fn tree(root: &Path) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut left = vec![root.to_owned()];
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let entry = entry.expect("an entry");
            all.insert(text(entry.path().strip_prefix(root).expect("below it")).to_owned());
            if entry.file_type().expect("a type").is_dir() {
                left.push(entry.path());
            }
        }
    }
    all
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("there").mode() & 0o7777
}

#[test]
fn o25_install_into_an_image_and_uninstall_leaves_the_data() {
    let (_folder, from, root) = unpacked();
    let install = ["install", "--image", text(&root)];
    let said = done(&from, &install);
    assert!(said.contains("init=/sbin/init -- /usr/lib/jobinit/bootctl boot"), "{said}");
    for name in ["init", "bootctl", "proxyd"] {
        let program = root.join("usr/lib/jobinit").join(name);
        assert_eq!(mode(&program), 0o755);
        let same = fs::read(&program).expect("read") == fs::read(from.join(name)).expect("read");
        assert!(same, "{name}");
    }
    let target = |link: &str| fs::read_link(root.join(link)).expect("a link");
    assert_eq!(target("sbin/init"), Path::new("/usr/lib/jobinit/init"));
    assert_eq!(target("usr/bin/bootctl"), Path::new("/usr/lib/jobinit/bootctl"));
    assert_eq!(mode(&root.join("var/lib/bootctl")), 0o700);
    assert_eq!(mode(&root.join("var/log/bootctl")), 0o750);
    let conf = root.join("etc/bootctl");
    let checked = done(&from, &["check", "--config", text(&conf)]);
    assert_eq!(checked.trim(), "0 apps, no problems");

    // Again, with programs that have changed and a config that has been edited.
    fs::write(conf.join("apps/shop.toml"), "exec = \"/bin/true\"\n").expect("written");
    fs::write(conf.join("bootctl.toml"), "# mine\n").expect("written");
    fs::write(from.join("proxyd"), "newer").expect("written");
    done(&from, &install);
    let read = |path: &str| fs::read_to_string(root.join(path)).expect("read");
    assert_eq!(read("usr/lib/jobinit/proxyd"), "newer");
    assert_eq!(read("etc/bootctl/bootctl.toml"), "# mine\n");

    fs::write(root.join("usr/lib/jobinit/plugin"), "somebody's").expect("written");
    done(&from, &["uninstall", "--image", text(&root)]);
    let left: Vec<_> = tree(&root).into_iter().filter(|path| !root.join(path).is_dir()).collect();
    assert_eq!(
        left,
        ["etc/bootctl/apps/shop.toml", "etc/bootctl/bootctl.toml", "usr/lib/jobinit/plugin"]
    );
    let said = refused(&from, &["uninstall", "--image", text(&root)]);
    assert!(said.contains("nothing is installed: there is no "), "{said}");
}

#[test]
fn o25_install_touches_nothing_that_is_in_the_way_or_outside() {
    let (_folder, from, root) = unpacked();
    fs::create_dir(root.join("sbin")).expect("made");
    symlink("/lib/systemd/systemd", root.join("sbin/init")).expect("linked");
    let install = ["install", "--image", text(&root)];
    let before = tree(&root);
    let said = refused(&from, &install);
    assert!(said.contains("sbin/init is there and is not of an installation"), "{said}");
    assert_eq!(tree(&root), before);
    // A link of the image leads to where it leads in the image.
    fs::create_dir(root.join("opt")).expect("made");
    symlink("/opt", root.join("usr")).expect("linked");
    done(&from, &["install", "--image", text(&root), "--force"]);
    assert!(root.join("opt/lib/jobinit/init").exists());

    fs::remove_file(from.join("proxyd")).expect("removed");
    let said = refused(&from, &install);
    assert!(said.contains("jobinit/proxyd cannot be read, so nothing was installed"), "{said}");
    let said = refused(&from, &["install", "--image", "/nowhere"]);
    assert!(said.contains("/nowhere cannot be opened as a folder"), "{said}");

    let list = root.join("var/lib/bootctl/installed.json");
    fs::write(&list, "{\"version\":1,\"pa").expect("written");
    let before = tree(&root);
    let said = refused(&from, &["uninstall", "--image", text(&root)]);
    assert!(said.contains("installed.json is not the list of an installation"), "{said}");
    assert_eq!(tree(&root), before);
}

#[test]
fn o25_an_installation_that_is_cut_short_can_be_gone_on_with() {
    let (_folder, from, root) = unpacked();
    fs::create_dir_all(root.join("usr/share")).expect("made");
    // A folder that nothing can be made in, for root neither.
    fs::write(root.join("usr/share/man"), "").expect("written");
    let install = ["install", "--image", text(&root)];
    let said = refused(&from, &install);
    assert!(said.contains("`install` again goes on from here"), "{said}");
    assert!(root.join("usr/lib/jobinit/init").exists());
    fs::remove_file(root.join("usr/share/man")).expect("removed");
    done(&from, &install);
    done(&from, &["uninstall", "--image", text(&root)]);
    assert!(!root.join("usr/lib/jobinit").exists());
}

#[test]
fn o25_the_unit_is_to_systemds_liking() {
    if !present(&["systemd-analyze"]) {
        return;
    }
    let (_folder, from, root) = unpacked();
    let said = done(&from, &["install", "--systemd", "--image", text(&root)]);
    assert!(said.contains("systemctl enable --now jobinit"), "{said}");
    assert!(!root.join("sbin/init").exists(), "systemd is the host's init");
    let unit = root.join("etc/systemd/system/jobinit.service");
    // As it would be if the root were one.
    let here = fs::read_to_string(&unit).expect("read");
    let here = here.replace("/usr/lib/jobinit", text(&root.join("usr/lib/jobinit")));
    fs::write(&unit, here).expect("written");
    fs::set_permissions(&unit, Permissions::from_mode(0o644)).expect("set");
    let verify = ["verify", "--man=no", text(&unit)];
    let output = Command::new("systemd-analyze").args(verify).output().expect("it runs");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    // A unit with a mistake is not to its liking.
    let broken = fs::read_to_string(&unit).expect("read").replace("Type=exec", "Typ=exec");
    fs::write(&unit, broken).expect("written");
    let output = Command::new("systemd-analyze").args(verify).output().expect("it runs");
    assert!(!output.stderr.is_empty(), "{output:?}");
}

#[test]
fn o25_each_verb_has_a_page_that_man_reads_without_a_word() {
    if !present(&["man"]) {
        return;
    }
    let (_folder, from, root) = unpacked();
    done(&from, &["install", "--image", text(&root)]);
    let pages = root.join("usr/share/man/man8");
    for verb in verbs::all() {
        assert!(pages.join(format!("bootctl-{verb}.8")).exists(), "{verb}");
    }
    let mut pages: Vec<_> =
        fs::read_dir(pages).expect("there").map(|page| page.expect("a page").path()).collect();
    pages.sort();
    let output = Command::new("man")
        .args(["--warnings", "-E", "UTF-8", "-Tutf8", "-Z", "-l"])
        .args(&pages)
        .output()
        .expect("it runs");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    // The two that man pages are read by, each with all that it can find fault with.
    let strictly: [&[&str]; 2] =
        [&["groff", "-k", "-man", "-Tutf8", "-ww", "-z"], &["mandoc", "-T", "lint", "-W", "error"]];
    for words in strictly {
        if !present(&words[..1]) {
            continue;
        }
        let output = Command::new(words[0]).args(&words[1..]).args(&pages).output();
        let output = output.expect("it runs");
        let said = [&output.stdout[..], &output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success() && said.is_empty(), "{words:?}: {said}");
    }
}

#[test]
fn o25_bash_completes_verbs_and_options() {
    let (_folder, from, root) = unpacked();
    done(&from, &["install", "--image", text(&root)]);
    let script = format!(
        "source {}; complete -p bootctl\n\
         COMP_WORDS=(bootctl roll); COMP_CWORD=1; _bootctl bootctl roll bootctl; echo \"${{COMPREPLY[@]}}\"\n\
         COMP_WORDS=(bootctl log --fol); COMP_CWORD=2; _bootctl bootctl --fol log; echo \"${{COMPREPLY[@]}}\"\n",
        text(&root.join("usr/share/bash-completion/completions/bootctl"))
    );
    let output = Command::new("bash").args(["--norc", "-c", &script]).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<_> = said.lines().collect();
    assert!(lines[0].contains("-F _bootctl"), "{output:?}");
    assert_eq!(lines[1..], ["rollback", "--follow"], "{output:?}");
    let printed = done(&from, &["completions", "zsh"]);
    assert!(printed.starts_with("#compdef bootctl"), "{printed}");
}

#[test]
fn o25_fish_completes_verbs_and_options() {
    if !present(&["fish"]) {
        return;
    }
    let (_folder, from, root) = unpacked();
    done(&from, &["install", "--image", text(&root)]);
    let script = root.join("usr/share/fish/vendor_completions.d/bootctl.fish");
    let ask = format!(
        "source {}; complete -C 'bootctl roll'; complete -C 'bootctl log --fol'",
        text(&script)
    );
    let mut fish = Command::new("fish");
    let output = fish.args(["--no-config", "-c", &ask]).output().expect("it runs");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    let words: Vec<_> = said.lines().filter_map(|line| line.split('\t').next()).collect();
    assert_eq!(words, ["rollback", "--follow"], "{output:?}");
}

#[test]
fn o25_zsh_completes_verbs_and_options() {
    if !present(&["zsh"]) {
        return;
    }
    let (_folder, from, root) = unpacked();
    done(&from, &["install", "--image", text(&root)]);
    let functions = root.join("usr/share/zsh/site-functions");
    let mut zsh = Pty::start(&["zsh", "-f"]);
    // What is typed is shown as well, so the word that is waited for is not among it.
    zsh.keys(&format!(
        "fpath=({} $fpath); autoload -U compinit; compinit -D -u && echo re''ady\n",
        text(&functions)
    ));
    zsh.expect("ready");
    zsh.keys("bootctl rollb\t");
    zsh.expect("bootctl rollback ");
    zsh.keys("\u{15}bootctl log --fol\t");
    zsh.expect("--follow");
}
