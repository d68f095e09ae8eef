//! `scale`: how many instances an app has is a line of its file, and that is where it is changed.
//!
//! Only this app is taken over, and only if nothing but the number is new: what else is in the file and
//! has not been taken over yet is not slipped in with it. What is refused has changed nothing.

use std::path::{Path, PathBuf};
use std::{fs, io};

use axum::http::StatusCode;

use crate::admin::wire::Refusal;
use crate::app::App;
use crate::changes::check_program;
use crate::config::edit::{self, EditError};
use crate::config::write::{self, Lock, WriteError};
use crate::config::{self, MAX_INSTANCES};
use crate::event::Reply;
use crate::name::{AppName, quoted};
use crate::requests::{Goal, refusal, refused};
use crate::supervise::Supervisor;

impl Supervisor {
    pub(crate) fn scale(&mut self, app: &str, count: &str) -> Result<Goal, Box<Reply>> {
        let (name, known) = self.whole(app)?;
        check_program(&name, &known)?;
        let count = parse(count).ok_or_else(|| {
            let message = format!(
                "{name} cannot have {} instances: use a whole number from 0, which parks it, \
                 to {MAX_INSTANCES}; nothing was changed",
                quoted(count)
            );
            refused(StatusCode::UNPROCESSABLE_ENTITY, "bad_number", message)
        })?;
        self.check_file(&name, &known)?;
        let text = note(&self.fixed.config, &name, count).map_err(|error| {
            refused(StatusCode::INTERNAL_SERVER_ERROR, "not_written", error.to_string())
        })?;
        self.declared.take_over(&name, &text);
        self.note(&name, |record| record.held = None)?;
        self.want(&name, App { instances: count, ..App::clone(&known) }.into());
        self.clear_ended(&name);
        if self.store.record(&name).stopped {
            return Ok(Goal::Stopped(name));
        }
        Ok(Goal::Scaled(name, count))
    }

    /// Whether the file says what was taken over from it, but for the number.
    fn check_file(&self, name: &AppName, known: &App) -> Result<(), Box<Reply>> {
        let config = config::load_after(&self.fixed.config, &self.declared).map_err(|error| {
            let message = format!("{error}; nothing was changed");
            refused(StatusCode::UNPROCESSABLE_ENTITY, "bad_config", message)
        })?;
        match config.apps.get(name) {
            Some(found) if App { instances: known.instances, ..App::clone(found) } == *known => {
                Ok(())
            }
            Some(_) if !config.has_problem(&self.fixed.config, name) => {
                let message = format!(
                    "the file of {name} has changes that are not taken over yet, so nothing was \
                     changed; run `bootctl reload` first"
                );
                Err(refused(StatusCode::CONFLICT, "unapplied", message))
            }
            Some(_) | None => {
                let message = format!(
                    "the file of {name} is broken or gone, so nothing was changed; repair it and run \
                     `bootctl reload`:"
                );
                let problems = config.problems.iter().map(ToString::to_string).collect();
                let refusal = Refusal { problems, ..refusal("broken_file", message) };
                Err(Box::new(Reply::Refused(StatusCode::CONFLICT, refusal)))
            }
        }
    }
}

/// Why the number is not in the file.
#[derive(Debug, thiserror::Error)]
enum NoteError {
    #[error("{} cannot be read, so nothing was changed: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: {source}; nothing was changed", path.display())]
    Edit { path: PathBuf, source: EditError },
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Writes it into the file; answers what that says now.
fn note(folder: &Path, name: &AppName, count: u32) -> Result<String, NoteError> {
    let lock = Lock::take_at_once(folder)?;
    let path = config::app_path(folder, name);
    let text = fs::read_to_string(&path);
    let text = text.map_err(|source| NoteError::Read { path: path.clone(), source })?;
    let text = edit::set(&text, "instances", i64::from(count).into())
        .map_err(|source| NoteError::Edit { path: path.clone(), source })?;
    write::replace(&lock, &path, &text)?;
    Ok(text)
}

fn parse(text: &str) -> Option<u32> {
    text.parse().ok().filter(|count| *count <= MAX_INSTANCES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o07_a_count_is_a_whole_number_within_bounds() {
        assert_eq!(["0", "1", "1000"].map(parse), [Some(0), Some(1), Some(1000)]);
        for bad in ["abc", "-1", "1000000000", "1001", "", "1.5", "99999999999999999999"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
