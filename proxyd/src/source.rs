//! The config file that proxyd serves by, read at its start and anew on HUP.

use std::path::PathBuf;
use std::sync::Arc;

use crate::config::{self, CannotRead};
use crate::registry::Registry;
use crate::say::say;
use crate::state::State;

/// The file, and where what it says goes.
#[derive(Debug)]
pub(crate) struct Source {
    path: PathBuf,
    registry: Arc<Registry>,
}

impl Source {
    pub(crate) fn new(path: PathBuf, registry: Arc<Registry>) -> Source {
        Source { path, registry }
    }

    /// Makes what the file says what is wanted. A file that is wrong changes nothing.
    pub(crate) fn read(&self) -> Result<(), CannotRead> {
        let mut config = config::read(&self.path, None)?;
        config.take_obtained(&self.registry.look(State::known));
        // Too many objects are a mistake that has been told by now.
        let _ = self.registry.change(|state| state.replace(config));
        Ok(())
    }

    /// The same for a process that serves: it says what came of it, and goes on.
    pub(crate) fn read_again(&self) {
        match self.read() {
            Ok(()) => say!("proxyd: {} has been read again", self.path.display()),
            Err(error) => {
                say!("{error}");
                say!("proxyd: {} is wrong, so nothing was changed", self.path.display());
            }
        }
    }
}
