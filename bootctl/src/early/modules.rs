//! The kernel's modules: those whose paths stand in `/etc/bootctl/modules`, a line each, in that order.

use std::fs::{self, File};

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use tracing::error;

use super::complain;

const LIST: &str = "/etc/bootctl/modules";

/// Loads them. One that is loaded already is no news.
pub(super) fn load() {
    let list = fs::read_to_string(LIST).unwrap_or_default();
    for path in list.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if path.starts_with('#') {
            continue;
        }
        match File::open(path) {
            Ok(file) => match finit_module(file, c"", ModuleInitFlags::empty()) {
                Err(Errno::EEXIST) => {}
                result => complain(&format!("load {path}"), result),
            },
            Err(error) => error!("cannot load {path}: {error}"),
        }
    }
}
