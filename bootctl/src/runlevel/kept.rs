//! The level across restarts of bootctl, and not across those of its machine: `RUN_DIR/runlevel`, with the name of the
//! init that it was under. A later init begins with the level that the config says.

use std::fs;
use std::path::Path;

use tracing::warn;

use super::Level;
use crate::durable::{self, OWN};
use crate::life;

const FILE: &str = "runlevel";

/// The level that holds, and the one that was on its way.
pub(super) type Kept = (Level, Option<Level>);

/// What an earlier bootctl under the same init has kept.
pub(super) fn read(run_dir: &Path) -> Option<Kept> {
    parse(&fs::read_to_string(run_dir.join(FILE)).ok()?, &life::of_init()?)
}

pub(super) fn write(run_dir: &Path, (level, next): Kept) {
    let Some(life) = life::of_init() else { return };
    let next = next.map_or_else(|| "-".to_owned(), |next| next.to_string());
    let path = run_dir.join(FILE);
    let text = format!("{level} {next} {life}\n");
    if let Err(error) = durable::replace(&path, text.as_bytes(), OWN) {
        warn!(
            "{} cannot be written: {error}; a bootctl that is started again does not know its runlevel",
            path.display()
        );
    }
}

pub(super) fn remove(run_dir: &Path) {
    // There may be none.
    drop(fs::remove_file(run_dir.join(FILE)));
}

fn parse(text: &str, life: &str) -> Option<Kept> {
    let mut words = text.split_whitespace();
    let level = words.next()?.parse().ok()?;
    let next = match words.next()? {
        "-" => None,
        text => Some(text.parse().ok()?),
    };
    // Whoever is started again after it had halted is to be there.
    let is_over = level == Level::HALT;
    (words.next() == Some(life) && !is_over).then_some((level, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d06_the_level_of_another_init_does_not_count() {
        assert_eq!(parse("1 - a\n", "a"), Some((Level::SINGLE, None)));
        assert_eq!(parse("3 1 a\n", "a"), Some((Level::MULTI, Some(Level::SINGLE))));
        for text in ["1 - b", "1 -", "", "0 - a", "7 - a", "1 7 a", "a a a"] {
            assert_eq!(parse(text, "a"), None, "{text:?}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path(), (Level::SINGLE, Some(Level::HALT)));
        assert_eq!(read(folder.path()), Some((Level::SINGLE, Some(Level::HALT))));
    }
}
