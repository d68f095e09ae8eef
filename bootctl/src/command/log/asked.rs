//! What is to be shown of logs, as it goes to another machine and as that one understands it.

use std::net::SocketAddr;
use std::path::Path;

use clap::ValueEnum;
use form_urlencoded::{Serializer, parse};
use regex_lite::Regex;

use super::{Log, Stream};
use crate::cli::{ConfigDir, InitAt};
use crate::logs::view::View;
use crate::remote::host::Host;

/// The last lines are all in memory before the first of them is shown.
const MOST_LINES: usize = 1_000_000;

/// A question that makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("the logs are asked for with {0:?}, which makes no sense")]
pub(crate) struct OddQuestion(String);

impl Log {
    /// The path that asks another machine.
    pub(super) fn question(&self, view: View) -> String {
        let mut query = Serializer::new(String::new());
        for (name, value) in [
            ("app", self.app.clone()),
            ("lines", self.lines.map(|lines| lines.to_string())),
            ("follow", self.follow.then(String::new)),
            ("since", self.since.as_ref().map(|since| since.0.clone())),
            ("grep", self.grep.as_ref().map(|grep| grep.as_str().to_owned())),
            ("instance", self.instance.clone()),
            (
                "stream",
                self.stream.and_then(|s| Some(s.to_possible_value()?.get_name().to_owned())),
            ),
            ("view", Some(word(view).to_owned())),
        ] {
            if let Some(value) = value {
                query.append_pair(name, &value);
            }
        }
        format!("/logs?{}", query.finish())
    }

    /// What another machine asks, about the logs in `folder`.
    pub(crate) fn asked(
        query: &str,
        clear: bool,
        folder: &Path,
        init: SocketAddr,
    ) -> Result<(Self, View), OddQuestion> {
        let mut view = View::Plain;
        let mut log = Self {
            app: None,
            lines: None,
            follow: false,
            since: None,
            grep: None,
            instance: None,
            stream: None,
            json: false,
            clear,
            folder: Some(folder.to_owned()),
            config: ConfigDir { path: folder.to_owned() },
            init: InitAt { address: Some(init) },
            host: Host::default(),
        };
        for (name, value) in parse(query.as_bytes()) {
            let odd = || OddQuestion(format!("{name}={value}"));
            match &*name {
                "app" => log.app = Some(value.into_owned()),
                "lines" => {
                    let lines = value.parse().ok().filter(|lines| *lines <= MOST_LINES);
                    log.lines = Some(lines.ok_or_else(odd)?);
                }
                "follow" => log.follow = true,
                "since" => log.since = Some(value.parse().map_err(|_| odd())?),
                "grep" => log.grep = Some(Regex::new(&value).map_err(|_| odd())?),
                "instance" => log.instance = Some(value.into_owned()),
                "stream" => {
                    log.stream = Some(Stream::from_str(&value, false).map_err(|_| odd())?);
                }
                "view" => view = read(&value).ok_or_else(odd)?,
                _ => return Err(odd()),
            }
        }
        if clear && log.app.is_none() {
            return Err(OddQuestion("no app, to clear its log".into()));
        }
        Ok((log, view))
    }
}

fn word(view: View) -> &'static str {
    match view {
        View::Json => "json",
        View::Plain => "plain",
        View::Screen { has_colours: true } => "colour",
        View::Screen { has_colours: false } => "screen",
    }
}

fn read(text: &str) -> Option<View> {
    [
        View::Json,
        View::Plain,
        View::Screen { has_colours: true },
        View::Screen { has_colours: false },
    ]
    .into_iter()
    .find(|view| word(*view) == text)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;
    use crate::command::Command;

    #[test]
    fn z09_what_is_asked_of_another_machine_is_what_was_meant() {
        let words = [
            "bootctl",
            "log",
            "shop",
            "-n",
            "7",
            "-f",
            "--since",
            "2026-11-22",
            "--grep",
            "a&b=[%+ ]",
            "--instance",
            "2",
            "--stream",
            "err",
        ];
        let Command::Log(log) = Cli::try_parse_from(words).expect("good words").command else {
            panic!("it is log")
        };
        let question = log.question(View::Json);
        let query = question.strip_prefix("/logs?").expect("a query");
        let init = ([127, 0, 0, 1], 1).into();
        let (asked, view) = Log::asked(query, false, Path::new("/l"), init).expect("understood");
        assert_eq!(
            (asked.question(view), asked.folder.as_deref()),
            (question.clone(), Some(Path::new("/l")))
        );
        for odd in
            ["lines=x", "lines=1000001", "grep=[", "since=x", "stream=x", "log-dir=/etc", "view=x"]
        {
            assert!(Log::asked(odd, false, Path::new("/l"), init).is_err(), "{odd}");
        }
        assert!(
            Log::asked("", true, Path::new("/l"), init).is_err(),
            "all of them at once are not cleared"
        );
    }
}
