//! `bootctl context add|list|use|remove`: machines by name.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::admin::client::ClientError;
use crate::fingerprint::Fingerprint;
use crate::remote::RemoteError;
use crate::remote::address::Address;
use crate::remote::contexts::{Context as Kept, Contexts};
use crate::remote::host::LOCAL;
use crate::remote::meet;
use crate::table::columns;

const HEAD: [&str; 4] = ["", "NAME", "ADDRESS", "TOKEN FILE"];

/// Name other machines, and say which one verbs are about
///
/// They are kept in ~/.config/bootctl/contexts.toml, together with the certificates that are known. Tokens stay in their own
/// files.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bootctl context add shop 192.0.2.7:8443 --token-file ~/shop.token
  bootctl status --host shop
  bootctl context use shop
  bootctl context use local")]
pub(crate) struct Context {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Add(Add),
    /// Show all of them
    List,
    /// Have verbs be about this machine unless they say otherwise; `local` is the one here
    Use {
        /// The context's name
        name: String,
    },
    /// Forget one
    Remove {
        /// The context's name
        name: String,
    },
}

/// Name a machine; its certificate is shown and asked about, unless --fingerprint tells it
#[derive(Debug, Args)]
struct Add {
    /// What it is to be called
    name: String,

    /// Where its [admin] listens
    #[arg(value_name = "ADDR:PORT")]
    address: Address,

    /// The file that holds the token for it
    #[arg(long, value_name = "FILE", env = "BOOTCTL_TOKEN_FILE")]
    token_file: Option<PathBuf>,

    /// What its certificate is known by; `bootctl status` shows it there
    #[arg(long, value_name = "SHA256")]
    fingerprint: Option<Fingerprint>,
}

pub(super) async fn run(context: &Context) -> Result<String, ClientError> {
    perform(&context.what).await.map_err(ClientError::Remote)
}

async fn perform(what: &What) -> Result<String, RemoteError> {
    let mut contexts = Contexts::own()?;
    match what {
        What::Add(add) => add_one(add, contexts).await,
        What::List => list(&contexts),
        What::Use { name } => {
            contexts.select(name)?;
            let whose = if name == LOCAL { "this machine" } else { name };
            Ok(format!("verbs are about {whose} from now on"))
        }
        What::Remove { name } => {
            contexts.remove(name)?;
            Ok(format!("{name} is forgotten"))
        }
    }
}

async fn add_one(add: &Add, mut contexts: Contexts) -> Result<String, RemoteError> {
    let Add { name, address, token_file, fingerprint } = add;
    // Naming it anew is how a new certificate is told.
    if let Some(known_by) = fingerprint {
        contexts.trust(address, *known_by)?;
    } else {
        meet(address, contexts).await?;
        contexts = Contexts::own()?;
    }
    // A relative path would be another file elsewhere.
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    let token_file = token_file.as_ref().map(absolute);
    contexts.add(name, &Kept { address: address.clone(), token_file })?;
    Ok(format!("{name} is {address}; `bootctl status --host {name}` asks it"))
}

fn list(contexts: &Contexts) -> Result<String, RemoteError> {
    let mut rows = vec![HEAD.map(str::to_owned)];
    let mark = |is_current: bool| if is_current { "*" } else { "" }.to_owned();
    let here = contexts.current().is_none();
    rows.push([mark(here), LOCAL.to_owned(), "-".to_owned(), "-".to_owned()]);
    for name in contexts.names() {
        let Some(context) = contexts.get(name)? else { continue };
        let file = context.token_file.map_or_else(|| "-".into(), |path| path.display().to_string());
        let is_current = contexts.current() == Some(name);
        rows.push([mark(is_current), name.to_owned(), context.address.to_string(), file]);
    }
    Ok(columns(&rows))
}
