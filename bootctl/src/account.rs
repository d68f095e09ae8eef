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
    }
}
