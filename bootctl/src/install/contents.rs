//! What an installation consists of, as a list. Paths are below the root, so without a leading slash.

use std::path::{Path, PathBuf};

use super::{pages, unit};

/// The programs' folder below the prefix. They are not in a folder of PATH: `init` is a word that another
/// program of the host goes by.
const PROGRAMS: &str = "lib/jobinit";

/// What is installed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A host whose init is systemd.
    Systemd,
    /// A host with any other init.
    Host,
    /// The root of a machine or a container, whose init is ours.
    Image,
}

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) kind: Kind,
    /// Where programs and pages go, such as `usr/local`.
    pub(crate) prefix: PathBuf,
    /// Where the programs are now.
    pub(crate) programs: PathBuf,
    /// Whether what is in the way is replaced.
    pub(crate) force: bool,
}

/// One thing to be there.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) path: PathBuf,
    pub(super) content: Content,
    pub(super) mode: u32,
    /// It is the administrator's once it is there.
    pub(super) stays: bool,
}

#[derive(Debug)]
pub(super) enum Content {
    Folder,
    /// A copy of this file.
    Program(PathBuf),
    Text(String),
    Link(PathBuf),
}

/// All of it, folders before what is in them.
pub(super) fn items(wish: &Wish) -> Vec<Item> {
    let programs = wish.prefix.join(PROGRAMS);
    let mut items = vec![
        data("etc/bootctl", Content::Folder, 0o755),
        data("etc/bootctl/apps", Content::Folder, 0o755),
        data("etc/bootctl/bootctl.toml", Content::Text(FIRST_CONFIG.into()), 0o644),
        data("var/lib/bootctl", Content::Folder, 0o700),
        data("var/log/bootctl", Content::Folder, 0o750),
        own(programs.clone(), Content::Folder, 0o755),
    ];
    for name in ["init", "bootctl", "proxyd"] {
        items.push(own(programs.join(name), Content::Program(wish.programs.join(name)), 0o755));
    }
    items.push(link(wish.prefix.join("bin/bootctl"), &programs.join("bootctl")));
    match wish.kind {
        Kind::Systemd => {
            let text = unit::text(&Path::new("/").join(&programs));
            items.push(own(
                "etc/systemd/system/jobinit.service".into(),
                Content::Text(text),
                0o644,
            ));
        }
        Kind::Host => {}
        Kind::Image => items.push(link("sbin/init".into(), &programs.join("init"))),
    }
    for (path, text) in pages::all() {
        items.push(own(wish.prefix.join("share").join(path), Content::Text(text), 0o644));
    }
    items
}

fn own(path: PathBuf, content: Content, mode: u32) -> Item {
    Item { path, content, mode, stays: false }
}

fn link(path: PathBuf, to: &Path) -> Item {
    own(path, Content::Link(Path::new("/").join(to)), 0o777)
}

fn data(path: &str, content: Content, mode: u32) -> Item {
    Item { path: path.into(), content, mode, stays: true }
}

/// What a new host's bootctl.toml says.
const FIRST_CONFIG: &str = "\
# What is not about one app. `bootctl config --keys` lists all that can stand here; apps have a file each in
# apps/, which `bootctl init NAME` writes.

[proxy]
listen = \"0.0.0.0:80\"
";
