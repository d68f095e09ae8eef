//! `bootctl custom NAME ARGS…`

use clap::Args;

use crate::admin::client::{Client, ClientError};
use crate::admin::custom::{CustomArgs, CustomLine};
use crate::admin::wire::Refusal;
use crate::cli::At;
use crate::http::segment;
use crate::speech::{Reader, piece, remark};

/// Run a command of the administrator, `[custom.NAME]` in bootctl.toml
///
/// It runs where the supervisor does, as a job of init; what it writes is shown as it comes. Who breaks it off ends it.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: that of the command; 1 if it is not run.

Examples:
  bootctl custom backup
  bootctl custom backup -- --fast")]
pub(crate) struct Custom {
    /// Its name
    name: String,

    /// Further arguments, where [custom.NAME] has `more = true`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,

    #[command(flatten)]
    at: At,
}

pub(super) async fn run(custom: &Custom) -> Result<String, ClientError> {
    let client = Client::at(&custom.at.socket());
    let body = CustomArgs { args: custom.args.clone() };
    let path = format!("/custom/{}", segment(&custom.name));
    let mut end = None;
    let mut written = Ok(Reader::There);
    client
        .lines(&path, &body, |line: CustomLine| match line {
            CustomLine::Out { text } => {
                if written.is_ok() {
                    written = piece(text.as_bytes());
                }
            }
            CustomLine::Err { text } => remark(text),
            CustomLine::Exit { code } => end = Some(Ok(code)),
            CustomLine::Lost { message } => end = Some(Err(message)),
        })
        .await?;
    let name = &custom.name;
    let refusal = |message, exit| Refusal {
        error: "failed".into(),
        message,
        problems: Vec::new(),
        log: Vec::new(),
        exit,
    };
    match end {
        Some(Ok(0)) => {
            written?;
            Ok(String::new())
        }
        Some(Ok(code)) => {
            let message = format!("{name} has ended with exit code {code}");
            Err(ClientError::Refused(refusal(message, Some(code))))
        }
        Some(Err(why)) => {
            let message = format!("it is not known how {name} has ended: {why}");
            Err(ClientError::Refused(refusal(message, None)))
        }
        None => Err(ClientError::Cut),
    }
}
