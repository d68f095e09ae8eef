//! Names of jobs and of processes.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest job id in bytes.
pub const MAX_ID: usize = 128;

/// A job's name: `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`, and not `init`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(Arc<str>);

/// Why a text is no job id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadId {
    /// It has a wrong character or length.
    #[error(
        "a job id is 1 to 128 of A-Z, a-z, 0-9, '.', '_' and '-', and begins with a letter or digit"
    )]
    Shape,
    /// It means init itself.
    #[error("the id `init` means init itself; choose another")]
    Reserved,
}

impl JobId {
    /// The text of [`boot`](Self::boot).
    pub const BOOT: &str = "boot";

    /// The job that init starts from its own arguments.
    #[must_use]
    pub fn boot() -> Self {
        Self(Self::BOOT.into())
    }

    /// Whether it is that job.
    #[must_use]
    pub fn is_boot(&self) -> bool {
        self.as_str() == Self::BOOT
    }

    /// The id that init gives to the n-th job without a name.
    #[must_use]
    pub fn numbered(n: u64) -> Self {
        Self(format!("job-{n}").into())
    }

    /// From the text a client sent.
    pub fn parse(text: &str) -> Result<Self, BadId> {
        let mut bytes = text.bytes();
        let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
        let rest = bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if !first || !rest || text.len() > MAX_ID {
            return Err(BadId::Shape);
        }
        if text == "init" {
            return Err(BadId::Reserved);
        }
        Ok(Self(text.into()))
    }

    /// The text of it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Equal, ordered and hashed as its text is.
impl Borrow<str> for JobId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A process id that names one process: above 1, so that no signal can go to a group or to all
/// by accident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i32", into = "i32")]
pub struct Pid(i32);

impl Pid {
    /// From the kernel's number.
    #[must_use]
    pub fn new(raw: i32) -> Option<Self> {
        (raw > 1).then_some(Self(raw))
    }

    /// The kernel's number.
    #[must_use]
    pub fn as_raw(self) -> i32 {
        self.0
    }

    /// As the API shows it.
    #[must_use]
    pub fn to_wire(self) -> u32 {
        self.0.unsigned_abs()
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl TryFrom<String> for JobId {
    type Error = BadId;

    fn try_from(text: String) -> Result<Self, BadId> {
        Self::parse(&text)
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl TryFrom<i32> for Pid {
    type Error = &'static str;

    fn try_from(raw: i32) -> Result<Self, &'static str> {
        Self::new(raw).ok_or("no process has such a number")
    }
}

impl From<Pid> for i32 {
    fn from(pid: Pid) -> Self {
        pid.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_the_rule() {
        for good in ["a", "0", "shop.example.1", "A_b-c", &"x".repeat(128)] {
            assert!(JobId::parse(good).is_ok(), "{good}");
        }
        for bad in ["", ".a", "-a", "_a", "a/b", "a b", "ä", "a\0", &"x".repeat(129)] {
            assert_eq!(JobId::parse(bad), Err(BadId::Shape), "{bad:?}");
        }
        assert_eq!(JobId::parse("init"), Err(BadId::Reserved));
    }
}
