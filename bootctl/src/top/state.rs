//! What the screen shows, and what becomes of keys and news.
//!
//!     Table ─enter→ Details ─esc→ Table
//!     Table, Details ─r→ Question ─y→ restart, ─anything else→ back

use super::figures::{Figures, Look};
use super::rows::{Row, Sort, sorted};
use crate::admin::wire::{AppView, StatusView};

/// What happens.
#[derive(Clone, Debug)]
pub(crate) enum Seen {
    Look(Box<Look>),
    /// Nobody answers, and why.
    Nobody(String),
    Key(Key),
    /// What a job has written last.
    Lines(String, Vec<String>),
    /// What has become of a change.
    Done(String),
}

/// A key that means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    Enter,
    Escape,
    Letter(char),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Leave,
    /// What this job has written last is wanted.
    Read(String),
    Restart(String),
}

/// What is in front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Table,
    /// Of the row that is selected, with what it has written last.
    Details {
        lines: Vec<String>,
    },
}

/// How many rows a page is.
const PAGE: isize = 10;

/// The screen.
#[derive(Clone, Debug)]
pub(crate) struct Top {
    pub(super) sort: Sort,
    pub(super) mode: Mode,
    /// The app whose restart is asked about.
    pub(super) question: Option<String>,
    pub(super) rows: Vec<Row>,
    pub(super) status: Option<StatusView>,
    /// Why what is shown is old.
    pub(super) trouble: Option<String>,
    /// What has become of the last change.
    pub(super) said: Option<String>,
    /// The app and the job of the row that is selected: rows move.
    chosen: Option<(String, Option<String>)>,
    look: Option<Look>,
    /// What was seen before it.
    before: Figures,
}

impl Top {
    pub(crate) fn new(sort: Sort) -> Self {
        Self {
            sort,
            mode: Mode::Table,
            question: None,
            rows: Vec::new(),
            status: None,
            trouble: None,
            said: None,
            chosen: None,
            look: None,
            before: Figures::default(),
        }
    }

    /// Something has happened.
    pub(crate) fn step(&mut self, seen: Seen) -> Option<Effect> {
        match seen {
            Seen::Look(look) => {
                self.before = self.look.as_ref().map(Figures::of).unwrap_or_default();
                self.status = Some(look.status.clone());
                self.look = Some(*look);
                self.trouble = None;
                self.arrange();
                match &self.mode {
                    Mode::Details { .. } => self.chosen_job().map(Effect::Read),
                    Mode::Table => None,
                }
            }
            Seen::Nobody(why) => {
                self.trouble = Some(why);
                None
            }
            Seen::Lines(job, lines) => {
                if let (Mode::Details { lines: shown }, true) =
                    (&mut self.mode, self.chosen.as_ref().is_some_and(|(_, is)| *is == Some(job)))
                {
                    *shown = lines;
                }
                None
            }
            Seen::Done(said) => {
                self.said = Some(said);
                None
            }
            Seen::Key(key) => self.key(key),
        }
    }

    fn key(&mut self, key: Key) -> Option<Effect> {
        if let Some(app) = self.question.take() {
            if key != Key::Letter('y') {
                return None;
            }
            self.said = Some(format!("{app} is being restarted"));
            return Some(Effect::Restart(app));
        }
        self.said = None;
        match key {
            Key::Letter('q') => return Some(Effect::Leave),
            Key::Letter('r') => self.question = self.chosen.clone().map(|(app, _)| app),
            Key::Letter('c') => self.sort_by(Sort::Cpu),
            Key::Letter('m') => self.sort_by(Sort::Memory),
            Key::Letter('n') => self.sort_by(Sort::Name),
            Key::Letter('j') | Key::Down => self.step_by(1),
            Key::Letter('k') | Key::Up => self.step_by(-1),
            Key::PageDown => self.step_by(PAGE),
            Key::PageUp => self.step_by(-PAGE),
            Key::First => self.step_by(isize::MIN),
            Key::Last => self.step_by(isize::MAX),
            Key::Escape => self.mode = Mode::Table,
            Key::Enter => match self.mode {
                Mode::Details { .. } => self.mode = Mode::Table,
                Mode::Table if self.chosen.is_some() => {
                    self.mode = Mode::Details { lines: Vec::new() };
                    return self.chosen_job().map(Effect::Read);
                }
                Mode::Table => {}
            },
            Key::Letter(_) => {}
        }
        None
    }

    fn sort_by(&mut self, sort: Sort) {
        self.sort = sort;
        self.arrange();
    }

    fn arrange(&mut self) {
        let Some(look) = &self.look else { return };
        let was = self.selected();
        self.rows = sorted(look, &self.before, self.sort);
        // Where the row was that is gone, another one is now.
        if self.selected().is_none() {
            self.choose(was.unwrap_or(0));
        }
    }

    /// Which row is selected.
    pub(super) fn selected(&self) -> Option<usize> {
        let (app, job) = self.chosen.as_ref()?;
        self.rows.iter().position(|row| row.app == *app && row.job == *job)
    }

    fn step_by(&mut self, rows: isize) {
        if self.mode == Mode::Table {
            self.choose(self.selected().unwrap_or(0).saturating_add_signed(rows));
        }
    }

    fn choose(&mut self, index: usize) {
        let row = self.rows.get(index).or(self.rows.last());
        self.chosen = row.map(|row| (row.app.clone(), row.job.clone()));
    }

    fn chosen_job(&self) -> Option<String> {
        self.chosen.as_ref().and_then(|(_, job)| job.clone())
    }

    /// The app of the row that is selected.
    pub(super) fn chosen_app(&self) -> Option<&AppView> {
        let (name, _) = self.chosen.as_ref()?;
        self.status.as_ref()?.apps.iter().find(|app| app.app == *name)
    }
}
