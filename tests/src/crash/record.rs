//! What has happened, in order, and what of it must not have.

use std::fmt::Write;
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use super::model::Model;

/// How much is told of what came before something that must not be.
const TOLD: usize = 400;

/// The record of one run, and the model that it is judged by.
pub struct Record {
    seed: u64,
    begun: Instant,
    model: Mutex<Model>,
    lines: Mutex<Vec<String>>,
    violations: Mutex<Vec<String>>,
}

impl Record {
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            begun: Instant::now(),
            model: Mutex::default(),
            lines: Mutex::default(),
            violations: Mutex::default(),
        }
    }

    pub fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().expect("nobody panics")
    }

    pub fn note(&self, what: &str) {
        let at = self.begun.elapsed().as_secs_f64() * 1e3;
        self.lines.lock().expect("nobody panics").push(format!("{at:10.1} {what}"));
    }

    pub fn violation(&self, what: String) {
        self.note(&format!("!!! {what}"));
        self.violations.lock().expect("nobody panics").push(what);
    }

    /// Ends the test if something was not as it has to be.
    pub fn check(&self) {
        let violations = self.violations.lock().expect("nobody panics").clone();
        if violations.is_empty() {
            return;
        }
        let lines = self.lines.lock().expect("nobody panics");
        let mut history = String::new();
        let first = lines.iter().position(|line| line.contains(" !!! ")).unwrap_or(lines.len());
        // What came before the first, and all after it.
        for line in &lines[first.saturating_sub(TOLD)..] {
            let _ = writeln!(history, "{line}");
        }
        panic!(
            "seed {}: {violations:#?}\nwhat came before:\n{history}\nagain: JOBINIT_SEED={}",
            self.seed, self.seed
        );
    }
}
