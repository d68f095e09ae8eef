//! Taking over a running process: which one, and what was asked for, because what is read from the
//! process differs from one time to the next.

use init_wire::JobSpec;

use super::SpecError;

/// Which process a job begins with. Two are equal when the same was asked for.
#[derive(Clone, Debug)]
pub struct Adoption {
    /// The process.
    pub pid: i32,
    /// The spec as it was asked for, as JSON text.
    asked: Box<str>,
    /// Its program was no longer on the disk.
    pub was_deleted: bool,
}

impl PartialEq for Adoption {
    fn eq(&self, other: &Self) -> bool {
        self.asked == other.asked
    }
}

impl Adoption {
    /// The one that `wire` asks for, if it does.
    pub(super) fn check(wire: &JobSpec) -> Result<Option<Self>, SpecError> {
        let Some(pid) = wire.adopt else { return Ok(None) };
        let pid = i32::try_from(pid).ok().filter(|pid| *pid > 0);
        let pid = pid.ok_or(SpecError::range("adopt", "the number of a process"))?;
        let asked = serde_json::to_string(wire)?.into();
        Ok(Some(Self { pid, asked, was_deleted: false }))
    }
}
