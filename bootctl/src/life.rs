//! Which init this bootctl is under. What one bootctl keeps for the next is of use only under the same.

use std::fs;

use nix::unistd::getppid;

/// Its process, when that began, and in which life of the kernel. It becomes another program without becoming another
/// process.
pub(crate) fn of_init() -> Option<String> {
    let parent = getppid();
    let stat = fs::read_to_string(format!("/proc/{parent}/stat")).ok()?;
    // Its name may hold anything, and ends with the last bracket.
    let (_, fields) = stat.rsplit_once(") ")?;
    let begun = fields.split(' ').nth(19)?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(format!("{parent}-{begun}-{}", boot.trim()))
}
