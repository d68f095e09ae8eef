//! `scale`: how many instances an app has is a line of its file, and that is where it is changed.
//!
//! Only this app is taken over, and only if nothing but the number is new: what else is in the file and
//! has not been taken over yet is not slipped in with it. What is refused has changed nothing.

use axum::http::StatusCode;

use crate::admin::wire::Refusal;
use crate::app::App;
use crate::config::{self, Edit, EditError, MAX_INSTANCES};
use crate::event::Reply;
use crate::name::AppName;
use crate::requests::{Goal, refusal, refused};
use crate::supervise::Supervisor;

impl Supervisor {
    pub(crate) fn scale(&mut self, app: &str, count: &str) -> Result<Goal, Box<Reply>> {
        let (name, known) = self.whole(app)?;
        let count = parse(count).ok_or_else(|| {
            let message = format!(
                "{name} cannot have {count:?} instances: use a whole number from 0, which parks it, \
                 to {MAX_INSTANCES}; nothing was changed"
            );
            refused(StatusCode::UNPROCESSABLE_ENTITY, "bad_number", message)
        })?;
        self.check_file(&name, &known)?;
        edit(&config::app_path(&self.fixed.config, &name), count).map_err(|error| {
            refused(StatusCode::INTERNAL_SERVER_ERROR, "not_written", error.to_string())
        })?;
        self.note(&name, |record| record.held = None)?;
        self.want(&name, App { instances: count, ..known });
        self.clear_ended(&name);
        if self.store.record(&name).stopped {
            return Ok(Goal::Stopped(name));
        }
        Ok(Goal::Running(name))
    }

    /// Whether the file says what was taken over from it, but for the number.
    fn check_file(&self, name: &AppName, known: &App) -> Result<(), Box<Reply>> {
        let config = config::load(&self.fixed.config).map_err(|error| {
            let message = format!("{error}; nothing was changed");
            refused(StatusCode::UNPROCESSABLE_ENTITY, "bad_config", message)
        })?;
        match config.apps.get(name) {
            Some(found) if App { instances: known.instances, ..found.clone() } == *known => Ok(()),
            Some(_) => {
                let message = format!(
                    "the file of {name} has changes that are not taken over yet, so nothing was \
                     changed; run `bootctl reload` first"
                );
                Err(refused(StatusCode::CONFLICT, "unapplied", message))
            }
            None => {
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

fn edit(path: &std::path::Path, count: u32) -> Result<(), EditError> {
    let mut edit = Edit::of(path)?;
    edit.set(&["instances"], i64::from(count))?;
    edit.write()
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
