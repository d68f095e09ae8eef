//! What may be true of a site of which some commands were answered and some were cut off. Pure.

use std::collections::{BTreeMap, BTreeSet};

/// A moment, counted in happenings.
pub type Moment = u64;

/// How sure it is that a write has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    Surely,
    Perhaps,
    Not,
}

/// A value that several write at once, each of which may be cut off.
#[derive(Clone, Debug)]
pub struct Register<T> {
    writes: Vec<Write<T>>,
}

#[derive(Clone, Debug)]
struct Write<T> {
    begun: Moment,
    ended: Moment,
    value: T,
    sure: bool,
}

impl<T: Ord + Copy> Register<T> {
    pub fn new(value: T) -> Self {
        Self { writes: vec![Write { begun: 0, ended: 0, value, sure: true }] }
    }

    pub fn write(&mut self, begun: Moment, ended: Moment, value: T, made: Made) {
        if made != Made::Not {
            self.writes.push(Write { begun, ended, value, sure: made == Made::Surely });
        }
    }

    /// Each value that no other has surely taken the place of.
    pub fn possible(&self) -> BTreeSet<T> {
        let overwritten = |write: &Write<T>| {
            self.writes.iter().any(|later| later.sure && later.begun > write.ended)
        };
        self.writes.iter().filter(|write| !overwritten(write)).map(|write| write.value).collect()
    }

    /// It has been looked at.
    pub fn settle(&mut self, value: T) {
        *self = Self::new(value);
    }
}

/// One app.
#[derive(Clone, Debug)]
pub struct App {
    pub stopped: Register<bool>,
    pub instances: Register<u32>,
    /// Of the release that it runs from; 0 is none.
    pub version: Register<u32>,
    /// None while it has no file.
    pub file: Option<File>,
    /// The most that were possible since the last rest.
    pub most: u32,
    /// Whether a command was about it since then.
    pub touched: bool,
}

/// What a file says beside the number of instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub colour: u32,
}

/// All apps there ever were.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub apps: BTreeMap<String, App>,
    clock: Moment,
}

impl Model {
    pub fn now(&mut self) -> Moment {
        self.clock += 1;
        self.clock
    }

    pub fn declare(&mut self, name: &str, instances: u32, colour: u32) {
        let now = self.now();
        let app = self.apps.entry(name.to_owned()).or_insert_with(|| App {
            stopped: Register::new(false),
            instances: Register::new(instances),
            version: Register::new(0),
            file: None,
            most: instances,
            touched: true,
        });
        app.instances.write(now, now, instances, Made::Surely);
        app.most = app.most.max(instances);
        app.file = Some(File { colour });
        app.touched = true;
    }

    pub fn touch(&mut self, name: &str) {
        if let Some(app) = self.apps.get_mut(name) {
            app.touched = true;
        }
    }

    /// Before it is asked for: it may be there before the answer.
    pub fn expect(&mut self, name: &str, instances: u32) {
        if let Some(app) = self.apps.get_mut(name) {
            app.most = app.most.max(instances);
        }
    }

    /// What is wrong with so many live instances of an app.
    pub fn judge_count(&self, name: &str, live: usize) -> Option<String> {
        let Some(app) = self.apps.get(name) else {
            return Some(format!("{name} was never declared, and has {live} instances"));
        };
        // One more than wanted takes part, while as many may finish what they have begun.
        let most = 2 * app.most as usize + 1;
        (live > most).then(|| format!("{name} has {live} instances, and {most} are the most"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_answered_holds_and_what_was_cut_off_may() {
        let mut register = Register::new(1);
        register.write(1, 2, 2, Made::Perhaps);
        assert_eq!(register.possible(), [1, 2].into());
        register.write(3, 4, 3, Made::Surely);
        assert_eq!(register.possible(), [3].into());
        register.write(5, 6, 4, Made::Not);
        assert_eq!(register.possible(), [3].into());
    }

    #[test]
    fn of_two_at_once_either_may_be_the_last() {
        let mut register = Register::new(0);
        register.write(1, 4, 1, Made::Surely);
        register.write(2, 3, 2, Made::Surely);
        assert_eq!(register.possible(), [1, 2].into());
    }

    #[test]
    fn one_more_than_wanted_and_as_many_that_finish_are_the_most() {
        let mut model = Model::default();
        model.declare("a", 2, 0);
        assert_eq!(model.judge_count("a", 5), None);
        assert!(model.judge_count("a", 6).is_some());
        assert!(model.judge_count("b", 1).is_some());
    }
}
