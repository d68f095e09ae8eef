//! What the kernel's command line says of the root. Pure.

use nix::mount::MsFlags;

/// The words that are ours; the last of a kind counts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Words {
    pub(crate) root: Option<String>,
    pub(crate) kind: String,
    pub(crate) options: String,
    pub(crate) flags: MsFlags,
    pub(crate) init: String,
}

impl Words {
    pub(crate) fn read(line: &str) -> Self {
        let mut words = Self {
            root: None,
            kind: "ext4".into(),
            options: String::new(),
            flags: MsFlags::MS_RDONLY,
            init: "/sbin/init".into(),
        };
        for word in line.split_whitespace().take_while(|word| *word != "--") {
            match word.split_once('=').unwrap_or((word, "")) {
                ("root", root) if root.starts_with("/dev/") => words.root = Some(root.into()),
                ("rootfstype", kind) if !kind.is_empty() => words.kind = kind.into(),
                ("rootflags", options) => words.options = options.into(),
                ("init", init) if init.starts_with('/') => words.init = init.into(),
                ("rw", "") => words.flags = MsFlags::empty(),
                ("ro", "") => words.flags = MsFlags::MS_RDONLY,
                _ => {}
            }
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b03_the_root_is_found_among_the_words() {
        let words = Words::read(
            "root= quiet root=/dev/vda ro rw rootflags=commit=1 rootfstype= init= -- root=/dev/b",
        );
        assert_eq!(words.root.as_deref(), Some("/dev/vda"));
        assert_eq!((words.kind.as_str(), words.options.as_str()), ("ext4", "commit=1"));
        assert_eq!((words.flags, words.init.as_str()), (MsFlags::empty(), "/sbin/init"));
        let words = Words::read("init=/bin/other rootfstype=xfs");
        assert_eq!(
            (words.root, words.kind.as_str(), words.flags),
            (None, "xfs", MsFlags::MS_RDONLY)
        );
        assert_eq!(words.init, "/bin/other");
    }
}
