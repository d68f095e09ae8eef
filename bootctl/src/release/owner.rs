//! Whose the files of a release are: the app's user, because what builds it and what it caches beside its code
//! is written by that user. `[deploy] owner` names another one, so that an app cannot change its own code.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{fchown, lchown};
use std::path::Path;

use init_wire::Account;

const USERS: &str = "/etc/passwd";

/// Ids to give files to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    uid: u32,
    gid: Option<u32>,
}

/// There is no such user.
#[derive(Debug, thiserror::Error)]
#[error(
    "there is no user {0:?} in {USERS}, whose the release would be; write another `user` or `[deploy] owner`"
)]
pub(crate) struct NoSuchUser(String);

impl Owner {
    /// A user with its own group.
    pub(crate) fn of(user: &Account) -> Result<Self, NoSuchUser> {
        let (users, text) = (fs::read_to_string(USERS).unwrap_or_default(), told(user));
        match find(&users, &text) {
            Some(owner) => Ok(owner),
            None => match text.parse() {
                Ok(uid) => Ok(Self { uid, gid: None }),
                Err(_) => Err(NoSuchUser(text)),
            },
        }
    }

    pub(crate) fn give(self, file: &File) -> io::Result<()> {
        fchown(file, Some(self.uid), self.gid)
    }

    /// The same with a link itself, or a folder.
    pub(crate) fn give_path(self, path: &Path) -> io::Result<()> {
        lchown(path, Some(self.uid), self.gid)
    }
}

fn told(user: &Account) -> String {
    match user {
        Account::Id(id) => id.to_string(),
        Account::Name(name) => name.clone(),
    }
}

/// By name or by id.
fn find(users: &str, text: &str) -> Option<Owner> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, uid, gid) = (fields.next()?, fields.nth(1)?, fields.next()?);
        let meant = name == text || uid == text;
        Some(Owner { uid: uid.parse().ok()?, gid: Some(gid.parse().ok()?) }).filter(|_| meant)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_by_id() {
        let users = "root:x:0:0:root:/root:/bin/sh\nwww:x:33:34::/:/bin/false\nbad:x\n";
        let www = Some(Owner { uid: 33, gid: Some(34) });
        assert_eq!((find(users, "www"), find(users, "33")), (www, www));
        assert_eq!((find(users, "bad"), find(users, "ww"), find(users, "x")), (None, None, None));
    }
}
