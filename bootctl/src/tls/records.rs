//! Records that an authority wants to see in a zone (`dns-01`): placed and taken away by a command of the administrator's,
//! which is a job of init, and told of to the proxy that waits for them.

use std::collections::BTreeMap;

use init_wire::{JobSpec, LastExit, Stdio};

use super::DnsHook;
use crate::app::DEFAULT_PATH;
use crate::client::Aloud;
use crate::event::Event;
use crate::exit;
use crate::generation::Generation;
use crate::supervise::Supervisor;

/// How the names of all begin.
const LABEL: &str = "_acme-challenge.";

/// By their names.
#[derive(Debug, Default)]
pub(crate) struct Records(BTreeMap<String, Record>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    values: Vec<String>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Placing,
    Placed,
    /// Nobody wants it any more.
    Removing,
}

/// What the command is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Add,
    Remove,
}

/// The command has ended.
#[derive(Debug)]
pub(crate) struct RecordNews {
    pub(crate) record: String,
    pub(crate) values: Vec<String>,
    pub(crate) action: Action,
    pub(crate) generation: Generation,
    /// Why it was of no use.
    pub(crate) failure: Option<String>,
}

impl Action {
    fn word(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Remove => "remove",
        }
    }
}

impl Records {
    /// What is to be done now that these are wanted, and all others are not. What is being done is waited for.
    fn next(
        &mut self,
        wanted: &BTreeMap<String, Vec<String>>,
    ) -> Vec<(Action, String, Vec<String>)> {
        let mut steps = Vec::new();
        for (name, record) in &mut self.0 {
            let stays = wanted.get(name) == Some(&record.values);
            if record.state == State::Placed && !stays {
                record.state = State::Removing;
                steps.push((Action::Remove, name.clone(), record.values.clone()));
            }
        }
        for (name, values) in wanted {
            if !self.0.contains_key(name) {
                let record = Record { values: values.clone(), state: State::Placing };
                self.0.insert(name.clone(), record);
                steps.push((Action::Add, name.clone(), values.clone()));
            }
        }
        steps
    }

    /// A step is over. One that could not be placed is forgotten: whoever wants it says so again.
    fn done(&mut self, name: &str, action: Action, failed: bool) {
        match (action, failed) {
            (Action::Add, false) => {
                if let Some(record) = self.0.get_mut(name) {
                    record.state = State::Placed;
                }
            }
            (Action::Add, true) | (Action::Remove, _) => drop(self.0.remove(name)),
        }
    }
}

impl DnsHook {
    /// The name of its job.
    fn job(record: &str) -> String {
        format!("acme.{}", record.strip_prefix(LABEL).unwrap_or(record))
    }

    fn spec(&self, action: Action, record: &str, values: &[String]) -> JobSpec {
        let envs = [
            ("PATH", DEFAULT_PATH.to_owned()),
            ("ACTION", action.word().to_owned()),
            ("RECORD", record.to_owned()),
            ("VALUES", values.join("\n")),
        ];
        JobSpec {
            args: self.args.clone(),
            envs: envs.map(|(name, value)| (name.to_owned(), value)).into(),
            user: self.user.clone(),
            stdout: Stdio::Log,
            stderr: Stdio::Log,
            ..JobSpec::new(&self.exec)
        }
    }
}

impl Supervisor {
    /// Has placed what is wanted, and taken away what is not.
    pub(crate) fn tend_records(&mut self) {
        let Some((generation, view)) = self.keys.obtaining.view().filter(|(_, it)| it.active)
        else {
            return;
        };
        let wanted = view.challenges.iter().map(|(name, it)| (name.clone(), it.values.clone()));
        let wanted: BTreeMap<String, Vec<String>> = wanted.collect();
        let Some(hook) = self.settings.acme.as_ref().and_then(|acme| acme.hook.clone()) else {
            return;
        };
        for (action, record, values) in self.keys.records.next(&wanted) {
            let spec = hook.spec(action, &record, &values);
            let (init, tell) = (self.hands.init.clone(), self.hands.tell.clone());
            let timeout = hook.timeout;
            tokio::spawn(async move {
                let result = init.run_aloud(&DnsHook::job(&record), &spec, timeout).await;
                let failure = match result {
                    Ok(Some(Aloud { exit: Some(LastExit::Code(0)), .. })) => None,
                    Ok(Some(Aloud { exit, log })) => {
                        let last = log.last().map(|line| format!(", and has written last: {line}"));
                        Some(format!("{}{}", exit::told(exit.as_ref()), last.unwrap_or_default()))
                    }
                    Ok(None) => {
                        Some(format!("it has taken longer than {timeout:?}, and was ended"))
                    }
                    Err(error) => Some(format!("it cannot be run: {error}")),
                };
                let news = RecordNews { record, values, action, generation, failure };
                drop(tell.send(Event::Record(news)).await);
            });
        }
    }

    /// A record was placed or taken away, or not.
    pub(crate) fn take_record(&mut self, news: RecordNews) {
        let RecordNews { record, values, action, generation, failure } = news;
        self.keys.records.done(&record, action, failure.is_some());
        if action == Action::Add {
            let failure = failure.map(|why| format!("the command of [acme.dns] has failed: {why}"));
            self.hands.place(generation, record, values, failure);
        }
        self.tend_records();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(all: &[(&str, &str)]) -> BTreeMap<String, Vec<String>> {
        all.iter().map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()])).collect()
    }

    #[test]
    fn o22_a_record_is_placed_once_and_taken_away_when_nobody_wants_it() {
        let mut records = Records::default();
        let step =
            |action, name: &str, value: &str| (action, name.to_owned(), vec![value.to_owned()]);
        let one = wanted(&[("a", "1")]);
        assert_eq!(records.next(&one), [step(Action::Add, "a", "1")]);
        assert_eq!(records.next(&one), []);
        assert_eq!(records.next(&wanted(&[])), [], "it is being placed");
        records.done("a", Action::Add, false);
        let other = wanted(&[("a", "2"), ("b", "1")]);
        assert_eq!(
            records.next(&other),
            [step(Action::Remove, "a", "1"), step(Action::Add, "b", "1")]
        );
        records.done("a", Action::Remove, false);
        records.done("b", Action::Add, true);
        assert_eq!(
            records.next(&other),
            [step(Action::Add, "a", "2"), step(Action::Add, "b", "1")],
            "another value, and what has failed"
        );
    }

    #[test]
    fn o22_the_command_is_told_what_to_do_in_its_environment() {
        let hook = DnsHook {
            exec: "/x".into(),
            args: vec!["-z".into()],
            user: None,
            timeout: std::time::Duration::from_secs(1),
        };
        let record = "_acme-challenge.shop.example";
        let spec = hook.spec(Action::Remove, record, &["1".into(), "2".into()]);
        assert_eq!(
            (DnsHook::job(record).as_str(), &*spec.args),
            ("acme.shop.example", &["-z".to_owned()][..])
        );
        let told = |name: &str| spec.envs[name].as_str();
        assert_eq!((told("ACTION"), told("RECORD"), told("VALUES")), ("remove", record, "1\n2"));
    }
}
