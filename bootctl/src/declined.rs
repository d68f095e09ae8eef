//! Changes that a generation of the proxy has refused. They are not asked for again until the config
//! changes, and are in nobody's way: what else is to be told is told.

use std::collections::BTreeMap;

use crate::generation::Generation;
use crate::plan::Push;

/// What each refuses, with its words.
#[derive(Debug, Default)]
pub(crate) struct Declined(BTreeMap<Generation, Vec<(Push, String)>>);

impl Declined {
    pub(crate) fn note(&mut self, generation: Generation, refused: Vec<(Push, String)>) {
        if !refused.is_empty() {
            self.0.entry(generation).or_default().extend(refused);
        }
    }

    /// Another process may see it otherwise.
    pub(crate) fn forget(&mut self, generation: Generation) {
        self.0.remove(&generation);
    }

    /// Another config may be better. Says whether there was anything.
    pub(crate) fn clear(&mut self) -> bool {
        !std::mem::take(&mut self.0).is_empty()
    }

    pub(crate) fn holds(&self, generation: Generation, push: &Push) -> bool {
        let refused = self.0.get(&generation);
        refused.is_some_and(|refused| refused.iter().any(|(known, _)| known == push))
    }

    /// For people.
    pub(crate) fn sentences(&self) -> impl Iterator<Item = String> {
        let all = self.0.iter().flat_map(|(generation, refused)| {
            refused.iter().map(move |(push, why)| (generation, push, why))
        });
        all.map(|(generation, push, why)| format!("{generation} was not told {push}: {why}"))
    }
}
