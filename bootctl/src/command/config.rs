//! `bootctl config`

use std::process::ExitCode;

use clap::Args;
use form_urlencoded::Serializer;

use super::reload;
use crate::admin::client::{Client, ClientError};
use crate::admin::settings::{Setting, SettingsView};
use crate::cli::{At, ConfigDir, Wait};
use crate::config::entry::Entries;
use crate::config::listing;
use crate::config::schema::Schema;
use crate::requests::{FAILED, TIMEOUT};
use crate::speech::{self, say};

/// Show or change the config, key by key; needs no supervisor
///
/// A change that the config would not be good with is refused before anything is written. Comments,
/// order, mode and owner of the file stay. With --host, they are the files of that machine, changed by its supervisor.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bootctl config --keys --app shop.example     what an app's file may say
  bootctl config --get                         what bootctl.toml says
  bootctl config --get proxy.listen
  bootctl config --set ports.first 10000
  bootctl config -a shop.example -g instances
  bootctl config -a shop.example -s alias www.shop.example,shop.test
  bootctl config -a shop.example -s env.NODE_ENV production --apply
  bootctl config -a shop.example -d cwd
  bootctl config -a shop.example -s instances 4 --apply --host shop")]
pub(crate) struct Config {
    /// Show a key, or all that are set
    #[arg(short, long, value_name = "KEY", num_args = 0..=1, default_missing_value = "",
          group = "what")]
    pub(crate) get: Option<String>,

    /// Set a key
    #[arg(short, long, value_names = ["KEY", "VALUE"], num_args = 2, group = "what",
          allow_hyphen_values = true)]
    pub(crate) set: Option<Vec<String>>,

    /// Remove a key: its default holds then
    #[arg(short, long, value_name = "KEY", group = "what")]
    pub(crate) delete: Option<String>,

    /// List all keys there are, with what they mean
    #[arg(short, long, group = "what")]
    pub(crate) keys: bool,

    /// As the page CONFIG.md
    #[arg(long, hide = true, requires = "keys")]
    pub(crate) markdown: bool,

    /// In the file of this app, instead of bootctl.toml
    #[arg(short, long, value_name = "APP", num_args = 0..=1, default_missing_value = "")]
    pub(crate) app: Option<String>,

    /// Have the supervisor take over the config afterwards, as `bootctl reload` does
    #[arg(long, visible_alias = "reload")]
    pub(crate) apply: bool,

    #[command(flatten)]
    pub(crate) folder: ConfigDir,

    #[command(flatten)]
    pub(crate) wait: Wait,

    #[command(flatten)]
    pub(crate) at: At,
}

pub(super) fn run(command: &Config) -> ExitCode {
    if command.keys {
        let schema = if command.app.is_some() { Schema::App } else { Schema::Main };
        let text = if command.markdown { listing::page() } else { listing::list(schema) };
        return super::print(text.trim_end());
    }
    let Some(wish) = wish(command) else {
        say("say what to do: --get, --set, --delete or --keys; `bootctl config --help` tells more");
        return ExitCode::FAILURE;
    };
    let way = command.at.socket();
    if way.is_remote() && command.folder.is_told() {
        say(
            "--config names a folder of this machine, but another one is meant; leave it out, or say \
             --host local",
        );
        return ExitCode::FAILURE;
    }
    if way.is_remote() {
        return from_afar(command, wish);
    }
    let app = command.app.as_deref();
    let entries = Entries { folder: &command.folder.path, app };
    let done = match wish {
        Wish::Show(key) => entries.show(key),
        Wish::Set(key, value) => entries.set(key, value),
        Wish::Delete(key) => entries.delete(key),
    };
    match done {
        Ok(text) => {
            let shown = super::print(&text);
            if matches!(wish, Wish::Show(_)) {
                return shown;
            }
            super::both(shown, apply(command.apply, &command.wait, &command.at))
        }
        Err(error) => {
            say(&error);
            ExitCode::FAILURE
        }
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug)]
enum Wish<'a> {
    Show(Option<&'a str>),
    Set(&'a str, &'a str),
    Delete(&'a str),
}

fn wish(command: &Config) -> Option<Wish<'_>> {
    if let Some(key) = &command.get {
        return Some(Wish::Show(Some(key.as_str()).filter(|key| !key.is_empty())));
    }
    if let Some([key, value]) = command.set.as_deref() {
        return Some(Wish::Set(key, value));
    }
    command.delete.as_deref().map(Wish::Delete)
}

/// Has the supervisor of another machine do it, to its own files.
fn from_afar(command: &Config, wish: Wish<'_>) -> ExitCode {
    super::ask(async {
        let client = Client::at(&command.at.socket());
        let app = command.app.as_deref();
        let view: SettingsView = match wish {
            Wish::Show(key) => client.get(&path(app, key)).await?,
            // What is set may be a secret: it is in no path.
            Wish::Set(key, value) => {
                client
                    .put_value(&path(app, Some(key)), &Setting { value: value.to_owned() })
                    .await?
            }
            Wish::Delete(key) => client.delete(&path(app, Some(key))).await?,
        };
        match (wish, command.apply) {
            (Wish::Show(_), _) => Ok(view.text),
            (Wish::Set(..) | Wish::Delete(_), false) => {
                Ok(format!("{}\n`bootctl reload` applies it", view.text))
            }
            (Wish::Set(..) | Wish::Delete(_), true) => {
                let shown = speech::answer(&view.text);
                let applied = applied(&client, &command.wait).await?;
                shown?;
                Ok(applied)
            }
        }
    })
}

fn path(app: Option<&str>, key: Option<&str>) -> String {
    let mut query = Serializer::new(String::new());
    let said = [("app", app), ("key", key)];
    query.extend_pairs(said.into_iter().filter_map(|(name, value)| Some((name, value?))));
    format!("/config?{}", query.finish())
}

/// Has a change taken over, or says how.
pub(super) fn apply(now: bool, wait: &Wait, at: &At) -> ExitCode {
    if !now {
        if at.socket().exists() {
            return super::print("`bootctl reload` applies it");
        }
        return ExitCode::SUCCESS;
    }
    super::ask(async { applied(&Client::at(&at.socket()), wait).await })
}

async fn applied(client: &Client, wait: &Wait) -> Result<String, ClientError> {
    let status = reload::ask(client, wait).await.map_err(noted)?;
    Ok(format!("all is as the config says\n\n{}", crate::table::status(&status)))
}

/// The file is written all the same.
fn noted(error: ClientError) -> ClientError {
    say(match taken_over(&error) {
        Some(true) => "the change is written and taken over, but not all is as the config says:",
        Some(false) => "the change is written, and not taken over:",
        None => "the change is written:",
    });
    error
}

/// Whether a supervisor goes by what is written now, as far as an error tells that.
fn taken_over(error: &ClientError) -> Option<bool> {
    match error {
        ClientError::Refused(refusal) => Some([FAILED, TIMEOUT].contains(&refusal.error.as_str())),
        ClientError::Versions { error, .. } => taken_over(error),
        ClientError::Cut | ClientError::Left(_) | ClientError::Odd(_) | ClientError::Unsaid(_) => {
            None
        }
        ClientError::Unreachable { .. }
        | ClientError::Remote(_)
        | ClientError::RemoteUnreachable(_)
        | ClientError::File { .. }
        | ClientError::TokenLost { .. }
        | ClientError::TokenLeft { .. }
        | ClientError::Forbidden { .. }
        | ClientError::Source(_)
        | ClientError::Job(_)
        | ClientError::TooLong => Some(false),
    }
}
