//! What a machine is called: by people, its host name; by programs, its machine id.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::unistd::sethostname;
use tracing::{error, info};

use super::complain;
use super::words::is_host_name;

const HOST_NAME: &str = "/etc/hostname";
const MACHINE_ID: &str = "/etc/machine-id";
/// Where it is for one boot, if /etc cannot be written.
const FOR_ONE_BOOT: &str = "/run/machine-id";
const RANDOM: &str = "/proc/sys/kernel/random/uuid";

/// Sets the host name: that of the command line, else that of `/etc/hostname`. Says whether there was one.
pub(super) fn set_host_name(word: Option<&str>) -> bool {
    let file = fs::read_to_string(HOST_NAME).unwrap_or_default();
    let Some(name) = word.or_else(|| of_file(&file)) else { return false };
    if !is_host_name(name) {
        error!("{HOST_NAME} says {name:?}, which is no host name");
        return false;
    }
    complain("set the host name", sethostname(name));
    true
}

fn of_file(text: &str) -> Option<&str> {
    let mut lines = text.lines().map(str::trim);
    lines.find(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Sees to it that there is a machine id: one for ever where it can be written down, else one for this boot.
pub(super) fn see_to_machine_id() {
    let known = fs::read_to_string(MACHINE_ID).unwrap_or_default();
    if is_machine_id(known.trim_end()) {
        return;
    }
    let id = fs::read_to_string(RANDOM).unwrap_or_default().trim().replace('-', "");
    if !is_machine_id(&id) {
        return error!("there is no machine id: {RANDOM} gives none");
    }
    let text = format!("{id}\n");
    let Err(refused) = write(Path::new(MACHINE_ID), &text) else { return };
    let for_now = write(Path::new(FOR_ONE_BOOT), &text).and_then(|()| {
        let (none, place) = (None::<&str>, MACHINE_ID);
        mount(Some(FOR_ONE_BOOT), place, none, MsFlags::MS_BIND, none).map_err(Into::into)
    });
    match for_now {
        Ok(()) => info!("the machine id is another one at each boot: {MACHINE_ID}: {refused}"),
        Err(error) => error!("there is no machine id: {MACHINE_ID}: {refused}, {error}"),
    }
}

fn is_machine_id(text: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == 32 && text.bytes().all(is_digit) && text.bytes().any(|byte| byte != b'0')
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_read_as_they_are_written() {
        assert_eq!(of_file("# name\n\n shop \nother"), Some("shop"));
        assert_eq!(of_file("\n"), None);
        assert!(is_machine_id("0123456789abcdef0123456789abcdef"));
        for bad in ["", "uninitialized", "0123456789ABCDEF0123456789abcdef", &"0".repeat(32)] {
            assert!(!is_machine_id(bad), "{bad}");
        }
    }
}
