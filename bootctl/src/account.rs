//! Users by name: `/etc/passwd`, as init reads it, and nothing else.

use std::fs;

use init_wire::Account;

const USERS: &str = "/etc/passwd";

/// A user's id, if there is such a user.
pub(crate) fn uid(user: &Account) -> Option<u32> {
    match user {
        Account::Id(id) => Some(*id),
        Account::Name(name) => {
            name.parse().ok().or_else(|| find(&fs::read_to_string(USERS).ok()?, name))
        }
    }
}

/// Who may use what belongs to this user: himself, and root.
pub(crate) fn owners(uid: u32) -> String {
    if uid == 0 {
        return "only root".into();
    }
    let users = fs::read_to_string(USERS).unwrap_or_default();
    match name(&users, uid) {
        Some(name) => format!("only root and {name} (uid {uid})"),
        None => format!("only root and uid {uid}"),
    }
}

fn name(users: &str, uid: u32) -> Option<&str> {
    let mut lines = users.lines().map(|line| line.split(':'));
    lines.find_map(|mut fields| {
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

fn find(users: &str, name: &str) -> Option<u32> {
    let mut lines = users.lines().map(|line| line.split(':'));
    let mut line = lines.find_map(|mut fields| (fields.next()? == name).then_some(fields))?;
    line.nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_ids() {
        let users = "root:x:0:0:root:/root:/bin/sh\nwww:x:33:34::/:/bin/false\nbad:x\n";
        assert_eq!(find(users, "www"), Some(33));
        assert_eq!(find(users, "bad"), None);
        assert_eq!(find(users, "ww"), None);
        assert_eq!(uid(&Account::Name("33".into())), Some(33));
        assert_eq!((name(users, 33), name(users, 34)), (Some("www"), None));
        assert_eq!(owners(0), "only root");
        assert_eq!(owners(4_000_000_000), "only root and uid 4000000000");
    }
}
