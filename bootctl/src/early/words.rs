//! The words of the kernel's command line that are bootctl's, and those of `/etc/bootctl/machine`, a file that
//! says the same; the command line comes last, and wins.
//!
//! Whatever somebody passes by mistake is told and left out: no word keeps a machine from booting. Words behind
//! `--` are init's. Pure.

use std::fmt;
use std::path::PathBuf;

use super::device::Device;
use super::network::Setting;

/// The kernel takes 2 to 4 KiB; a file may be longer.
const LONGEST: usize = 64 << 10;
/// How many words of a kind are taken.
const MOST: usize = 64;
/// How much of a word is told.
const LONGEST_SHOWN: usize = 80;
/// What begins so is meant for bootctl.
const OURS: &str = "bootctl.";

/// How the root is to be mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    ReadOnly,
    ReadWrite,
}

/// Where the config is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Folder(PathBuf),
    Device(Device),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => folder.display().fmt(f),
            Self::Device(device) => device.fmt(f),
        }
    }
}

/// A word that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the word {word:?} of the command line is ignored: {expected}")]
pub(crate) struct Mistake {
    word: String,
    expected: &'static str,
}

/// All that is said there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Words {
    pub(super) hostname: Option<String>,
    pub(super) root: Option<Access>,
    pub(super) networks: Vec<Setting>,
    pub(super) sysctls: Vec<(String, String)>,
    pub(super) config: Option<Source>,
    pub(super) runlevel: Option<String>,
    /// Terminals that are to have a shell.
    pub(super) shells: Vec<String>,
    /// A file: a token itself would be read by everybody who reads the command line.
    pub(crate) token_file: Option<PathBuf>,
    pub(super) mistakes: Vec<Mistake>,
}

impl Words {
    /// Reads one more line, or file; what it says takes the place of what was said before.
    pub(super) fn read(&mut self, text: &str) {
        let end = text.floor_char_boundary(LONGEST);
        let text = text.get(..end).unwrap_or_default();
        let mut networks = Vec::new();
        for word in split(text).take_while(|word| word != "--") {
            if let Err(expected) = self.take(&word, &mut networks) {
                let word = word.chars().take(LONGEST_SHOWN).collect();
                keep(&mut self.mistakes, Mistake { word, expected });
            }
        }
        if !networks.is_empty() {
            self.networks = networks;
        }
    }

    fn take(&mut self, word: &str, networks: &mut Vec<Setting>) -> Result<(), &'static str> {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let path = |what| Some(PathBuf::from(value)).filter(|path| path.is_absolute()).ok_or(what);
        match key {
            "ro" if word == "ro" => self.root = Some(Access::ReadOnly),
            "rw" if word == "rw" => self.root = Some(Access::ReadWrite),
            "ip" => networks.extend(room(networks, Setting::parse_kernels(value)?)),
            "bootctl.ip" => networks.extend(room(networks, Setting::parse(value)?)),
            "bootctl.dns" => {
                let all: Result<Vec<_>, _> = value.split(',').map(str::parse).collect();
                let all = all.map_err(|_| "bootctl.dns=ADDRESS[,ADDRESS]")?;
                networks.extend(room(networks, Setting::resolvers(all)));
            }
            "bootctl.hostname" => {
                let name = Some(value.to_owned()).filter(|name| is_host_name(name));
                self.hostname =
                    Some(name.ok_or("bootctl.hostname=NAME, of letters, digits, dots and dashes")?);
            }
            "bootctl.config" => {
                self.config = Some(match Device::parse(value) {
                    Some(device) => Source::Device(device),
                    None => Source::Folder(path(
                        "bootctl.config=/FOLDER, /dev/DISK, LABEL=NAME or UUID=ID",
                    )?),
                });
            }
            "bootctl.runlevel" => {
                let level = matches!(value, "0" | "1" | "2" | "3" | "4").then(|| value.to_owned());
                self.runlevel = Some(level.ok_or("bootctl.runlevel=N, 0 to 4")?);
            }
            "bootctl.shell" => {
                let name = value.strip_prefix("/dev/").unwrap_or(value);
                let is_good = !name.is_empty()
                    && name.len() < 32
                    && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
                if !is_good {
                    return Err("bootctl.shell=TERMINAL, such as ttyS0");
                }
                if !self.shells.iter().any(|known| known == name) {
                    keep(&mut self.shells, name.to_owned());
                }
            }
            "bootctl.token" => {
                self.token_file = Some(path(
                    "bootctl.token=/FILE, as init's --token-file; a token itself would be readable by all",
                )?);
            }
            _ => match key.strip_prefix("sysctl.") {
                Some("") => return Err("sysctl.KEY=VALUE"),
                Some(key) if word.contains('=') => {
                    keep(&mut self.sysctls, (key.to_owned(), value.to_owned()));
                }
                Some(_) => return Err("sysctl.KEY=VALUE"),
                None if key.starts_with(OURS) => return Err("bootctl knows no such word"),
                // The kernel's, or somebody else's.
                None => {}
            },
        }
        Ok(())
    }
}

/// What there is room for.
fn room<T>(all: &[T], one: T) -> Option<T> {
    (all.len() < MOST).then_some(one)
}

fn keep<T>(all: &mut Vec<T>, one: T) {
    if all.len() < MOST {
        all.push(one);
    }
}

/// Words as the kernel splits them: at blanks that stand in no double quotes, which are dropped. A line of a
/// file that begins with `#` is none.
fn split(text: &str) -> impl Iterator<Item = String> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines.flat_map(|line| {
        let mut is_quoted = false;
        let parts = line.split(move |c: char| {
            is_quoted ^= c == '"';
            c.is_whitespace() && !is_quoted
        });
        parts.filter(|part| !part.is_empty()).map(|part| part.replace('"', ""))
    })
}

/// As the kernel and other machines take it.
pub(super) fn is_host_name(name: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('-')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    name.len() <= 64 && name.split('.').all(part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Words {
        let mut words = Words::default();
        words.read(text);
        words
    }

    #[test]
    fn b03_words_are_found_by_their_whole_key() {
        let words =
            read("console=ttyS0 bootctl.hostnames=x bootctl.hostname=vm ro quiet rw rw=1\n");
        assert_eq!(words.hostname.as_deref(), Some("vm"));
        assert_eq!(words.root, Some(Access::ReadWrite), "the last one counts");
        let told: Vec<_> = words.mistakes.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "the word \"bootctl.hostnames=x\" of the command line is ignored: bootctl knows no such word"
            ]
        );
    }

    #[test]
    fn b03_every_word_has_its_place() {
        let words = read(
            "bootctl.config=LABEL=conf bootctl.runlevel=1 bootctl.shell=ttyS0 bootctl.shell=/dev/ttyS0 \
             bootctl.token=/etc/tokens sysctl.kernel.panic=10 \"sysctl.kernel.core_pattern=a b\" \
             ip=dhcp -- bootctl.hostname=inits",
        );
        assert_eq!(words.config, Some(Source::Device(Device::Label("conf".into()))));
        assert_eq!(words.runlevel.as_deref(), Some("1"));
        assert_eq!(words.shells, ["ttyS0"], "the same one once");
        assert_eq!(words.token_file, Some(PathBuf::from("/etc/tokens")));
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(words.sysctls, [pair("kernel.panic", "10"), pair("kernel.core_pattern", "a b")]);
        assert_eq!((words.networks.len(), words.hostname), (1, None));
        assert_eq!(words.mistakes, []);
        let words = read("bootctl.config=/srv/conf");
        assert_eq!(words.config, Some(Source::Folder("/srv/conf".into())));
    }

    #[test]
    fn b03_mistakes_are_told_and_change_nothing() {
        for bad in [
            "bootctl.ip=",
            "bootctl.ip=10.0.2.15",
            "bootctl.hostname=",
            "bootctl.hostname=a_b",
            "bootctl.hostname=-a",
            "bootctl.config=",
            "bootctl.config=relative",
            "bootctl.runlevel=5",
            "bootctl.runlevel=",
            "bootctl.runlevel=33",
            "bootctl.shell=",
            "bootctl.shell=../x",
            "bootctl.token=secret",
            "bootctl.dns=x",
            "bootctl.",
            "bootctl.shell",
            "sysctl.=1",
            "sysctl.x",
        ] {
            let words = read(bad);
            assert_eq!(words.mistakes.len(), 1, "{bad}");
            assert_eq!(Words { mistakes: Vec::new(), ..words }, Words::default(), "{bad}");
        }
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let mut words = read("# a comment bootctl.hostname=no\nip=dhcp\nbootctl.hostname=file\n");
        words.read("bootctl.ip=10.0.2.15/24");
        assert_eq!(words.hostname.as_deref(), Some("file"));
        assert_eq!(words.networks, read("bootctl.ip=10.0.2.15/24").networks);
    }

    proptest! {
        #[test]
        fn b03_no_line_is_too_much(text in "(?s).{0,300}", times in 1_usize..20) {
            let words = read(&text.repeat(times));
            prop_assert!(words.mistakes.len() <= MOST);
        }

        #[test]
        fn b03_what_is_known_survives_what_is_not(
            before in "[a-z._=:/,\\[\\]0-9 ]{0,200}", after in "[a-z.=:/,0-9]{0,64}",
        ) {
            // A quote, or a lone --, takes what follows; nothing else does.
            let after = after.repeat(64);
            let words = read(&format!("{before} bootctl.hostname=vm {after}"));
            prop_assert!(words.hostname.as_deref() == Some("vm") || after.contains("bootctl.hostname="));
        }

        #[test]
        fn b03_any_value_of_any_word(
            key in "(ip|bootctl\\.(ip|dns|hostname|config|runlevel|shell|token|x)|sysctl\\.[a-z.]{0,9}|rw|ro)",
            value in "[ -~\\u{e9}]{0,60}", times in 1_usize..200,
        ) {
            let words = read(&format!("{key}={value} ").repeat(times));
            for count in [words.networks.len(), words.sysctls.len(), words.shells.len()] {
                prop_assert!(count <= MOST);
            }
        }
    }
}
