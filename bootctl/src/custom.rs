//! Commands of the administrator, `[custom.NAME]`: run when somebody asks, as a job of init.

use std::collections::BTreeMap;

use init_wire::{Account, JobSpec, Stdio};

use crate::app::DEFAULT_PATH;

/// The most that may be added, and the longest of it.
const MOST: usize = 100;
const LONGEST: usize = 4096;

/// One of them, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Custom {
    pub(crate) name: String,
    pub(crate) exec: String,
    pub(crate) args: Vec<String>,
    pub(crate) user: Option<Account>,
    pub(crate) cwd: Option<String>,
    /// Whether arguments may be added.
    pub(crate) more: bool,
}

/// Why it is not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CustomError {
    #[error(
        "the command {0} takes no further arguments; `more = true` in [custom.{0}] lets them in"
    )]
    NoMore(String),
    #[error(
        "there are too many arguments, or too long ones: {MOST} of {LONGEST} bytes are the most"
    )]
    Large,
    #[error("an argument holds a NUL")]
    Nul,
}

impl Custom {
    /// Its job, with what was added.
    pub(crate) fn spec(&self, more: &[String]) -> Result<JobSpec, CustomError> {
        if !self.more && !more.is_empty() {
            return Err(CustomError::NoMore(self.name.clone()));
        }
        if more.len() > MOST || more.iter().any(|word| word.len() > LONGEST) {
            return Err(CustomError::Large);
        }
        if more.iter().any(|word| word.contains('\0')) {
            return Err(CustomError::Nul);
        }
        Ok(JobSpec {
            args: self.args.iter().chain(more).cloned().collect(),
            envs: BTreeMap::from([("PATH".to_owned(), DEFAULT_PATH.to_owned())]),
            user: self.user.clone(),
            cwd: self.cwd.clone(),
            stdin: Stdio::Null,
            stdout: Stdio::Log,
            stderr: Stdio::Log,
            ..JobSpec::new(&self.exec)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d07_arguments_are_added_where_they_may() {
        let custom = |more| Custom {
            name: "backup".into(),
            exec: "b".into(),
            args: vec!["--all".into()],
            user: None,
            cwd: None,
            more,
        };
        let words =
            |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let spec = custom(true).spec(&words(&["x", "; rm -rf /"])).expect("it may");
        assert_eq!(spec.args, ["--all", "x", "; rm -rf /"], "no shell reads them");
        assert_eq!(custom(false).spec(&words(&["x"])), Err(CustomError::NoMore("backup".into())));
        assert!(custom(false).spec(&[]).is_ok());
        assert_eq!(custom(true).spec(&words(&["a\0b"])), Err(CustomError::Nul));
        assert_eq!(custom(true).spec(&vec![String::new(); 101]), Err(CustomError::Large));
    }
}
