//! The file of a new app: what it is to say, with comments that tell what else it may. Pure.

use std::fmt::Write;

use toml_edit::{Array, Value};

use crate::name::{AppName, Host};

/// What is known of a new app.
#[derive(Clone, Debug)]
pub(crate) struct NewApp {
    pub(crate) name: AppName,
    pub(crate) exec: String,
    pub(crate) args: Vec<String>,
    pub(crate) cwd: String,
    pub(crate) user: Option<String>,
    pub(crate) port: Option<u16>,
    pub(crate) instances: u32,
    pub(crate) alias: Vec<Host>,
}

/// The text of its file.
pub(crate) fn render(app: &NewApp) -> String {
    let mut text = String::new();
    let mut section = |comment: &str, lines: &[String]| {
        if !text.is_empty() {
            text.push('\n');
        }
        for line in comment.lines() {
            let _ = writeln!(text, "# {line}");
        }
        for line in lines {
            let _ = writeln!(text, "{line}");
        }
    };
    let name = &app.name;
    section(
        &format!(
            "{name}: an app that bootctl runs, and the host that leads to it.\n`bootctl config --keys \
             --app` tells all that may stand here, `bootctl check` what is wrong with it,\n`bootctl \
             reload` applies it."
        ),
        &[],
    );
    let args = array(&app.args);
    section(
        "The program, found in PATH or by its path, and what it is started with.",
        &[format!("exec = {}", string(&app.exec)), format!("args = {args}")],
    );
    let user = match &app.user {
        Some(user) => format!("user = {}", string(user)),
        None => "# user = \"www\"".into(),
    };
    section(
        "The folder that it works in, and whom it runs as: without a user, as bootctl does.",
        &[format!("cwd = {}", string(&app.cwd)), user],
    );
    let port = app.port.map_or("# port = 9100".into(), |port| format!("port = {port}"));
    section(
        "It has to listen on the port that it finds in PORT: the first free one from this on, else from\n\
         `ports.first` of bootctl.toml.",
        &[port],
    );
    section(
        "How many of it run side by side. A change replaces them one by one.",
        &[format!("instances = {}", app.instances)],
    );
    let hosts: Vec<String> = app.alias.iter().map(ToString::to_string).collect();
    let alias = match hosts.as_slice() {
        [] => format!("# alias = [\"www.{name}\"]"),
        hosts => format!("alias = {}", array(hosts)),
    };
    section(
        "Other hosts that it answers for, and hosts whose clients are sent to it.",
        &[alias, format!("# redirect = [\"old.{name}\"]")],
    );
    section(
        "Its environment; nothing else is in it but PATH and what bootctl sets.",
        &["[env]".into(), "# NODE_ENV = \"production\"".into()],
    );
    section(
        "It gets requests while it answers: without a word, while its port accepts connections.",
        &["[health]".into(), "# http = \"/healthz\"".into()],
    );
    text
}

fn string(text: &str) -> String {
    Value::from(text).to_string()
}

fn array(texts: &[String]) -> String {
    Value::Array(texts.iter().map(String::as_str).collect::<Array>()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o01_what_is_rendered_is_what_was_said() {
        let app = NewApp {
            name: AppName::parse("shop.test").unwrap(),
            exec: "node".into(),
            args: vec!["server.js".into(), "a \"b\"".into()],
            cwd: "/srv/shop".into(),
            user: Some("www".into()),
            port: Some(9100),
            instances: 2,
            alias: vec![Host::parse("www.shop.test").unwrap()],
        };
        let text = render(&app);
        let said = crate::config::edit::get(&text, None).unwrap();
        let said: Vec<_> = said.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        assert_eq!(
            said,
            [
                "exec = \"node\"",
                "args = [\"server.js\", 'a \"b\"']",
                "cwd = \"/srv/shop\"",
                "user = \"www\"",
                "port = 9100",
                "instances = 2",
                "alias = [\"www.shop.test\"]",
            ]
        );
        let least = NewApp { user: None, port: None, alias: Vec::new(), ..app };
        let text = render(&least);
        assert!(text.contains("\n# alias = [\"www.shop.test\"]\n"), "{text}");
        assert!(text.lines().all(|line| line.len() <= 110), "{text}");
    }
}
