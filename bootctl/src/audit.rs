//! Who has changed what, from where, and what came of it: an object a line in `STATE_DIR/audit.log`, which nobody
//! but bootctl's own user may read.
//!
//! Whatever asks for a change over the admin API has a line, also when it was refused; what only looks has none.
//! Tokens are named, never shown. A file that has grown to 4 MiB is put away as `audit.log.1`, of which four are
//! kept.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::error;

use crate::durable::OWN;

const FILE: &str = "audit.log";
const LARGEST: u64 = 4 << 20;
const KEPT: u32 = 4;
/// The longest text in a line: paths come from strangers.
const LONGEST: usize = 300;

/// The file.
#[derive(Clone, Debug)]
pub(crate) struct Audit {
    path: PathBuf,
    /// Whether it is put away when it is large: that is one process's business.
    is_keeper: bool,
}

/// Whoever asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asker {
    /// `uid 0`, or `token laptop`.
    pub(crate) who: String,
    /// `pid 123` of this machine, or an address.
    pub(crate) from: String,
}

/// One line.
#[derive(Debug, Serialize)]
pub(crate) struct Line<'a> {
    at: String,
    who: &'a str,
    from: &'a str,
    method: &'a str,
    path: String,
    /// None if whoever asked has left before.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    result: String,
}

impl<'a> Line<'a> {
    pub(crate) fn new(
        asker: &'a Asker,
        method: &'a str,
        path: &str,
        (status, result): (Option<u16>, &str),
    ) -> Self {
        let short = |text: &str| text.chars().take(LONGEST).collect();
        let Asker { who, from } = asker;
        Self { at: now(), who, from, method, path: short(path), status, result: short(result) }
    }
}

impl Audit {
    /// Of the supervisor, which also puts it away.
    pub(crate) fn kept(state_dir: &Path) -> Self {
        Self { path: state_dir.join(FILE), is_keeper: true }
    }

    /// Of others, which append to it.
    pub(crate) fn shared(state_dir: &Path) -> Self {
        Self { path: state_dir.join(FILE), is_keeper: false }
    }

    /// Appends a line. What was asked for is done all the same where that fails: it is told in the log.
    pub(crate) fn note(&self, line: &Line<'_>) {
        if let Err(error) = self.append(line) {
            error!("{} cannot be written: {error}; it was: {line:?}", self.path.display());
        }
    }

    /// The file is opened each time: whoever puts it away meanwhile is not in the way.
    fn append(&self, line: &Line<'_>) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = OpenOptions::new().append(true).create(true).mode(OWN).open(&self.path)?;
        // In one write, so that lines of two processes do not mix.
        file.write_all(&text)?;
        if self.is_keeper && file.metadata()?.len() >= LARGEST {
            self.put_away()?;
        }
        Ok(())
    }

    fn put_away(&self) -> io::Result<()> {
        let old = |number: u32| self.path.with_extension(format!("log.{number}"));
        for number in (1..KEPT).rev() {
            match fs::rename(old(number), old(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        fs::rename(&self.path, old(1))
    }
}

/// RFC 3339 in UTC.
pub(crate) fn now() -> String {
    // A time of this millennium can always be written.
    OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asker() -> Asker {
        Asker { who: "token laptop".into(), from: "192.0.2.1:7".into() }
    }

    #[test]
    fn z09_a_line_is_one_line_whatever_was_asked() {
        let folder = tempfile::tempdir().expect("a folder");
        let audit = Audit::shared(folder.path());
        let path = format!("/apps/a\n{{\"who\":\"uid 0\"}}{}", "x".repeat(5000));
        audit.note(&Line::new(&asker(), "PUT", &path, (Some(404), "unknown_app")));
        audit.note(&Line::new(&asker(), "PUT", "/reload", (None, "left")));
        let text = fs::read_to_string(folder.path().join(FILE)).expect("written");
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert_eq!((&lines[0]["who"], &lines[0]["status"]), (&"token laptop".into(), &404.into()));
        assert!(lines[0]["path"].as_str().expect("a text").len() < 400);
        assert_eq!((lines[1].get("status"), &lines[1]["result"]), (None, &"left".into()));
    }

    #[test]
    fn z09_it_is_put_away_and_does_not_grow_for_ever() {
        let folder = tempfile::tempdir().expect("a folder");
        let audit = Audit::kept(folder.path());
        for number in 0..6 {
            let large = usize::try_from(LARGEST).expect("small");
            fs::write(folder.path().join(FILE), number.to_string().repeat(large)).expect("written");
            audit.note(&Line::new(&asker(), "PUT", "/reload", (Some(200), "done")));
        }
        let mut names: Vec<_> =
            fs::read_dir(folder.path()).expect("there").flatten().map(|e| e.file_name()).collect();
        names.sort();
        assert_eq!(names, ["audit.log.1", "audit.log.2", "audit.log.3", "audit.log.4"]);
        let first = fs::read(folder.path().join("audit.log.4")).expect("there");
        assert_eq!(first.first(), Some(&b'2'));
    }
}
