//! Users and groups by name, from `/etc/passwd` and `/etc/group`.
//!
//! Read directly: a static binary cannot load the C library's name service modules, and PID 1
//! must not wait for a directory server. Ids that are numbers need no file.

use std::fs;
use std::io;
use std::path::Path;

use init_wire::Account;
use serde::{Deserialize, Serialize};

/// Whom a job runs as. Supplementary groups are always set, so none of init's are inherited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary group ids.
    pub groups: Vec<u32>,
}

/// Why an account could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// No such user.
    #[error("user `{0}` is not in /etc/passwd; create it, or give a numeric id")]
    UnknownUser(String),
    /// No such group.
    #[error("group `{0}` is not in /etc/group; create it, or give a numeric id")]
    UnknownGroup(String),
    /// A group or supplementary groups were asked for without a user, and the id is not known.
    #[error("user id {0} is not in /etc/passwd, so its group is not known; give `group` too")]
    NoPrimaryGroup(u32),
    /// The kernel's `(uid_t) -1` means "unchanged" and is nobody's id.
    #[error("{0} is not a valid id")]
    BadId(u32),
    /// The file is there but cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: &'static str,
        /// The reason.
        source: io::Error,
    },
}

/// What the two files say.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    passwd: String,
    group: String,
}

struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
}

impl Accounts {
    /// Reads both files. A missing file is an empty one: images without accounts are usual.
    pub fn read() -> Result<Self, AccountError> {
        Ok(Self { passwd: read("/etc/passwd")?, group: read("/etc/group")? })
    }

    /// A user's id, from a name or an id.
    pub fn user_id(&self, user: &str) -> Result<u32, AccountError> {
        let account = user.parse().map_or_else(|_| Account::Name(user.into()), Account::Id);
        Ok(self.user(&account)?.0)
    }

    /// Resolves the three account fields of a spec. `None` if it names none of them.
    pub fn resolve(
        &self,
        user: Option<&Account>,
        group: Option<&Account>,
        groups: Option<&[Account]>,
        own: (u32, u32),
    ) -> Result<Option<Identity>, AccountError> {
        if user.is_none() && group.is_none() && groups.is_none() {
            return Ok(None);
        }
        let (uid, name, primary) = match user {
            None => (own.0, None, Some(own.1)),
            Some(account) => self.user(account)?,
        };
        let gid = match group {
            Some(account) => self.group(account)?,
            None => primary.ok_or(AccountError::NoPrimaryGroup(uid))?,
        };
        if own.0 != 0 && (uid, gid) == own && groups.is_none() {
            // Who is not root cannot set groups, and is this user already.
            return Ok(None);
        }
        let groups = match (groups, name) {
            (Some(list), _) => list.iter().map(|g| self.group(g)).collect::<Result<_, _>>()?,
            (None, Some(name)) => self.groups_of(name, gid),
            (None, None) => Vec::new(),
        };
        Ok(Some(Identity { uid, gid, groups }))
    }

    fn user(&self, account: &Account) -> Result<(u32, Option<&str>, Option<u32>), AccountError> {
        let by_id = |uid: u32| {
            let entry = self.users().find(|user| user.uid == uid);
            Ok((checked(uid)?, entry.as_ref().map(|u| u.name), entry.as_ref().map(|u| u.gid)))
        };
        match account {
            Account::Id(uid) => by_id(*uid),
            Account::Name(name) => match self.users().find(|user| user.name == name) {
                Some(user) => Ok((user.uid, Some(user.name), Some(user.gid))),
                None => match name.parse() {
                    Ok(uid) => by_id(uid),
                    Err(_) => Err(AccountError::UnknownUser(name.clone())),
                },
            },
        }
    }

    fn group(&self, account: &Account) -> Result<u32, AccountError> {
        match account {
            Account::Id(gid) => checked(*gid),
            Account::Name(name) => {
                let listed = self.group_lines().find(|(group, _, _)| group == name);
                match (listed, name.parse()) {
                    (Some((_, gid, _)), _) => Ok(gid),
                    (None, Ok(gid)) => checked(gid),
                    (None, Err(_)) => Err(AccountError::UnknownGroup(name.clone())),
                }
            }
        }
    }

    fn groups_of(&self, name: &str, primary: u32) -> Vec<u32> {
        let mut gids: Vec<u32> = self
            .group_lines()
            .filter(|(_, gid, members)| {
                *gid != primary && members.split(',').any(|member| member == name)
            })
            .map(|(_, gid, _)| gid)
            .collect();
        gids.push(primary);
        gids.sort_unstable();
        gids.dedup();
        gids
    }

    fn users(&self) -> impl Iterator<Item = User<'_>> {
        self.passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let (name, _password) = (fields.next()?, fields.next()?);
            let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
            Some(User { name, uid, gid })
        })
    }

    fn group_lines(&self) -> impl Iterator<Item = (&str, u32, &str)> {
        self.group.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let (name, _password) = (fields.next()?, fields.next()?);
            Some((name, fields.next()?.parse().ok()?, fields.next().unwrap_or("")))
        })
    }
}

fn checked(id: u32) -> Result<u32, AccountError> {
    if id == u32::MAX { Err(AccountError::BadId(id)) } else { Ok(id) }
}

fn read(path: &'static str) -> Result<String, AccountError> {
    match fs::read(Path::new(path)) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(source) => Err(AccountError::Unreadable { path, source }),
    }
}

/// The id that the kernel shows for users without one in init's user namespace, unless it is also
/// somebody's there.
#[must_use]
pub fn unmapped() -> Option<u32> {
    // Without /proc, init is the first process of a machine, where everybody has an id.
    let map = fs::read_to_string("/proc/self/uid_map").ok()?;
    let shown = fs::read_to_string("/proc/sys/kernel/overflowuid").ok();
    let shown = shown.and_then(|text| text.trim().parse().ok()).unwrap_or(65_534);
    (!maps(&map, shown)).then_some(shown)
}

/// Whether a line `FIRST OUTSIDE COUNT` of a `uid_map` covers an id.
fn maps(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let mut words = line.split_whitespace().map(str::parse::<u32>);
        let (Some(Ok(first)), _, Some(Ok(count))) = (words.next(), words.next(), words.next())
        else {
            return false;
        };
        id.checked_sub(first).is_some_and(|offset| offset < count)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b25_a_map_of_users_is_read() {
        assert!(maps("         0          0 4294967295\n", 65_534));
        assert!(maps("0 1000 1\n1 100000 65536\n", 65_534));
        assert!(!maps("0 1000 1\n", 65_534) && !maps("", 65_534) && !maps("0 x y\n", 0));
    }

    fn accounts() -> Accounts {
        Accounts {
            passwd: "root:x:0:0:root:/root:/bin/sh\nwww:x:33:33::/var/www:/bin/sh\nbroken\n".into(),
            group: "root:x:0:\nwww:x:33:\nlogs:x:40:www,root\nssl:x:41:www\n".into(),
        }
    }

    fn name(text: &str) -> Account {
        Account::Name(text.into())
    }

    #[test]
    fn b19_a_user_brings_its_groups() {
        let identity = accounts().resolve(Some(&name("www")), None, None, (0, 0)).unwrap().unwrap();
        assert_eq!(identity, Identity { uid: 33, gid: 33, groups: vec![33, 40, 41] });
    }

    #[test]
    fn b19_given_groups_replace_the_listed_ones() {
        let groups = [name("logs")];
        let identity = accounts()
            .resolve(Some(&name("www")), Some(&name("ssl")), Some(&groups), (0, 0))
            .unwrap()
            .unwrap();
        assert_eq!(identity, Identity { uid: 33, gid: 41, groups: vec![40] });
    }

    #[test]
    fn b19_numbers_need_no_file() {
        let none = Accounts::default();
        let identity =
            none.resolve(Some(&Account::Id(5)), Some(&name("6")), None, (0, 0)).unwrap().unwrap();
        assert_eq!(identity, Identity { uid: 5, gid: 6, groups: vec![] });
        assert!(matches!(
            none.resolve(Some(&Account::Id(5)), None, None, (0, 0)),
            Err(AccountError::NoPrimaryGroup(5))
        ));
    }

    #[test]
    fn b19_unknown_accounts_are_refused() {
        let all = accounts();
        assert!(matches!(
            all.resolve(Some(&name("nosuch")), None, None, (0, 0)),
            Err(AccountError::UnknownUser(_))
        ));
        assert!(matches!(
            all.resolve(None, Some(&name("nosuch")), None, (0, 0)),
            Err(AccountError::UnknownGroup(_))
        ));
        assert!(matches!(
            all.resolve(Some(&Account::Id(u32::MAX)), None, None, (0, 0)),
            Err(AccountError::BadId(_))
        ));
    }
}
