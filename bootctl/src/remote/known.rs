//! From what the command line says to a machine that is known: its address, its certificate, our token.

use std::fs;
use std::io::{self, IsTerminal};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use http::HeaderValue;

use super::address::Address;
use super::contexts::{Context, ContextError, Contexts};
use super::host::Host;
use super::line::{LineError, Remote, who_is};
use crate::access::secret::Secret;
use crate::fingerprint::Fingerprint;
use crate::speech::remark;

/// What strangers have no business with.
const OTHERS: u32 = 0o007;

/// Why it is not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoteError {
    #[error(transparent)]
    Context(#[from] ContextError),
    #[error("{text:?} is neither a context nor an address: {why}")]
    Address { text: String, why: &'static str },
    #[error(
        "say with --token-file which file holds the token for {0}; `bootctl generate` makes one, there"
    )]
    NoToken(Address),
    #[error("the token file {} cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("the token file {} may be read by everybody; take that right away: chmod o= {}", .0.display(), .0.display())]
    Open(PathBuf),
    #[error("the token file {} holds no token, which is one line that `bootctl generate` has shown", .0.display())]
    Empty(PathBuf),
    #[error(transparent)]
    Line(#[from] LineError),
    #[error(
        "{address} is not known yet; its certificate is {seen}. Compare it with what `bootctl status` shows there, \
         and tell it with --fingerprint"
    )]
    Stranger { address: Address, seen: Fingerprint },
    #[error("{0} was not trusted, and nothing was sent")]
    Distrusted(Address),
}

/// The machine that is meant, ready to be asked.
pub(crate) async fn remote(host: &Host, contexts: Contexts) -> Result<Remote, RemoteError> {
    let name = host.machine.as_deref().or(contexts.current()).unwrap_or_default();
    let Context { address, token_file } = match contexts.get(name)? {
        Some(context) => context,
        None => Context { address: address(name, &contexts)?, token_file: None },
    };
    let Some(file) = host.token_file.clone().or(token_file) else {
        return Err(RemoteError::NoToken(address));
    };
    let authorization = token(&file)?;
    let known_by = match (host.fingerprint, contexts.known(&address)?) {
        (Some(told), _) => told,
        (None, Some(known)) => known,
        (None, None) => meet(&address, contexts).await?,
    };
    Ok(Remote::new(address, known_by, authorization))
}

fn address(name: &str, contexts: &Contexts) -> Result<Address, RemoteError> {
    // A name without a dot or a port is rather a context that is not there.
    if !name.contains(['.', ':']) && name != "localhost" {
        return Err(contexts.unknown(name).into());
    }
    name.parse().map_err(|why| RemoteError::Address { text: name.to_owned(), why })
}

fn token(path: &Path) -> Result<HeaderValue, RemoteError> {
    let unreadable = |source| RemoteError::Unreadable { path: path.to_owned(), source };
    let about = fs::metadata(path).map_err(unreadable)?;
    if about.is_file() && about.permissions().mode() & OTHERS != 0 {
        return Err(RemoteError::Open(path.to_owned()));
    }
    let text = fs::read_to_string(path).map_err(unreadable)?;
    let empty = || RemoteError::Empty(path.to_owned());
    let secret = Secret::parse(text.trim()).ok_or_else(empty)?;
    let mut value =
        HeaderValue::try_from(format!("Bearer {}", secret.text())).map_err(|_| empty())?;
    value.set_sensitive(true);
    Ok(value)
}

/// Shows a certificate that is seen for the first time to whoever sits there, and keeps it if he says so.
pub(crate) async fn meet(
    address: &Address,
    mut contexts: Contexts,
) -> Result<Fingerprint, RemoteError> {
    let seen = who_is(address).await?;
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(RemoteError::Stranger { address: address.clone(), seen });
    }
    remark(format_args!(
        "{address} is not known yet. Its certificate is\n  {seen}\n`bootctl status` shows it there. Is it the \
         same? [y/N] "
    ));
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    if read.is_err() || !matches!(answer.trim(), "y" | "Y" | "yes") {
        return Err(RemoteError::Distrusted(address.clone()));
    }
    contexts.trust(address, seen)?;
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn z10_a_token_file_is_ours_alone_and_holds_a_token() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        let write = |text: &str, mode| {
            fs::write(&path, text).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("ours");
            token(&path)
        };
        let good = Secret::generate().expect("random").text();
        let value = write(&format!("{good}\n"), 0o600).expect("a token");
        assert!(value.is_sensitive() && value == format!("Bearer {good}"));
        assert!(matches!(write(&good, 0o644), Err(RemoteError::Open(_))));
        for text in ["", "\n", "changeme", &good[..20]] {
            assert!(matches!(write(text, 0o600), Err(RemoteError::Empty(_))), "{text:?}");
        }
    }
}
