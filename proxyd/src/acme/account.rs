//! Our account with an authority: made once, kept, and brought up to date.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use instant_acme::{Account, ExternalAccountKey, NewAccount};
use proxyd_wire as wire;

use super::failure::{Cause, Failure};
use super::kept;
use super::problem::refused;
use super::store::Store;
use super::web::Web;

/// The account, and what answers at port 80 end with.
pub(super) async fn open(
    store: &dyn Store,
    web: &Web,
    authority: &wire::AcmeAuthority,
    contacts: &[String],
) -> Result<Account, Failure> {
    let record = kept::account_of(&authority.directory);
    let kept: Option<kept::Account> = kept::load(store, &record).map_err(stored)?;
    let key_id = authority.eab.as_ref().map(|eab| eab.key_id.clone());
    let mails: Vec<String> = contacts.iter().map(|mail| format!("mailto:{mail}")).collect();
    let mails: Vec<&str> = mails.iter().map(String::as_str).collect();
    let builder = Account::builder_with_http(Box::new(web.clone()));
    if let Some(mut kept) = kept
        && kept.directory == authority.directory
        && kept.key_id == key_id
    {
        let again = serde_json::to_value(&kept.credentials).ok();
        let credentials = again.and_then(|value| serde_json::from_value(value).ok());
        let Some(credentials) = credentials else {
            return Err(Failure::new(Cause::Storage, "the key of the account cannot be read"));
        };
        let account = builder.from_credentials(credentials).await.map_err(refused)?;
        if kept.contacts != contacts {
            account.update_contacts(&mails).await.map_err(refused)?;
            kept.contacts = contacts.to_vec();
            kept::save(store, &record, &kept).map_err(stored)?;
        }
        return Ok(account);
    }
    let binding = authority.eab.as_ref().map(binding).transpose()?;
    let new =
        NewAccount { contact: &mails, terms_of_service_agreed: true, only_return_existing: false };
    let created = builder.create(&new, authority.directory.clone(), binding.as_ref()).await;
    let (account, credentials) = created.map_err(refused)?;
    let kept = kept::Account {
        directory: authority.directory.clone(),
        contacts: contacts.to_vec(),
        key_id,
        thumbprint: account.key_thumbprint().to_owned(),
        credentials,
    };
    kept::save(store, &record, &kept).map_err(stored)?;
    Ok(account)
}

pub(super) fn stored(error: impl std::fmt::Display) -> Failure {
    Failure::new(Cause::Storage, error.to_string())
}

fn binding(eab: &wire::AcmeBinding) -> Result<ExternalAccountKey, Failure> {
    let wrong = |what: String| Failure::new(Cause::Account, what);
    let path: &Path = &eab.key_file;
    let text = std::fs::read_to_string(path)
        .map_err(|error| wrong(format!("key_file {} cannot be read: {error}", path.display())))?;
    let text = text.trim().trim_end_matches('=');
    let key = URL_SAFE_NO_PAD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text));
    let key =
        key.map_err(|_| wrong(format!("key_file {} is not one line of Base64", path.display())))?;
    Ok(ExternalAccountKey::new(eab.key_id.clone(), &key))
}
