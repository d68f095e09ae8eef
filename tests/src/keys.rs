//! Certificates in files that nobody but bootctl can read, and clients that believe them.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::proxyd::{Authority, Pair, SecureClient};
use crate::wait;

/// The folder that they are in, and who vouches for them.
pub struct Keys {
    folder: TempDir,
    pub authority: Authority,
}

impl Default for Keys {
    fn default() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), authority: Authority::default() }
    }
}

impl Keys {
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Writes a pair, as who renews one does: one file after the other.
    pub fn write(&self, name: &str, pair: &Pair) {
        for (end, text) in [("pem", &pair.chain), ("key", &pair.key)] {
            let path = self.path(&format!("{name}.{end}"));
            let new = path.with_extension("new");
            fs::write(&new, text).expect("written");
            fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).expect("ours");
            fs::rename(new, path).expect("renamed");
        }
    }

    /// Writes a new pair for these names.
    pub fn make(&self, name: &str, hosts: &[&str]) -> Pair {
        let pair = self.authority.pair(hosts);
        self.write(name, &pair);
        pair
    }

    /// The two keys of a table that name a pair.
    pub fn named(&self, name: &str) -> String {
        let path = |end| self.path(&format!("{name}.{end}")).display().to_string();
        format!("certificate = \"{}\"\nkey = \"{}\"\n", path("pem"), path("key"))
    }

    /// A connection to a host.
    #[track_caller]
    pub fn client(&self, at: SocketAddr, host: &str) -> SecureClient {
        self.authority.trust().connect(at, host).expect("a connection")
    }

    /// Waits until a host is shown this certificate.
    #[track_caller]
    pub fn wait_until_shown(&self, at: SocketAddr, host: &str, pair: &Pair) {
        let is_shown =
            || self.authority.trust().connect(at, host).is_ok_and(|it| it.was_shown(pair));
        wait::until("the new certificate", || is_shown().then_some(()));
    }
}
