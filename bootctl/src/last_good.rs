//! What `bootctl.toml` said when it was last taken over: `RUN_DIR/settings`, behind the name of the init that it was
//! under. A bootctl that is started again while the file has a mistake goes on with that, as the one before it would
//! have.

use std::fs;
use std::path::Path;

use tracing::warn;

use crate::durable::{self, OWN};
use crate::life;

const FILE: &str = "settings";

/// What an earlier bootctl under the same init has kept.
pub(crate) fn read(run_dir: &Path) -> Option<String> {
    let kept = fs::read_to_string(run_dir.join(FILE)).ok()?;
    let (life, text) = kept.split_once('\n')?;
    (life == life::of_init()?).then(|| text.to_owned())
}

pub(crate) fn keep(run_dir: &Path, text: &str) {
    if read(run_dir).is_some_and(|kept| kept == text) {
        return;
    }
    let Some(life) = life::of_init() else { return };
    let path = run_dir.join(FILE);
    if let Err(error) = durable::replace(&path, format!("{life}\n{text}").as_bytes(), OWN) {
        warn!(
            "{} cannot be written: {error}; a bootctl that is started again while bootctl.toml has a mistake does not \
             know what it said before",
            path.display()
        );
    }
}

/// After a clean end nobody goes on with it.
pub(crate) fn remove(run_dir: &Path) {
    // There may be none.
    drop(fs::remove_file(run_dir.join(FILE)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b04_what_was_kept_under_another_init_is_of_no_use() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(read(folder.path()), None);
        for text in ["", "watch = true\n[proxy]\n"] {
            keep(folder.path(), text);
            assert_eq!(read(folder.path()).as_deref(), Some(text));
        }
        let path = folder.path().join(FILE);
        let kept = fs::read_to_string(&path).expect("there");
        for other in ["", "\n", &format!("1{kept}"), kept.lines().next().expect("a line")] {
            fs::write(&path, other).expect("written");
            assert_eq!(read(folder.path()), None, "{other:?}");
        }
        keep(folder.path(), "");
        remove(folder.path());
        assert_eq!(read(folder.path()), None);
    }
}
