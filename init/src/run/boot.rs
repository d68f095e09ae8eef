//! What init runs first.

use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;

use init_wire::{JobSpec, Policy, Restart, SignalName, Stdio};

use crate::account::Accounts;
use crate::options::Options;
use crate::renew::{CHECKED, CRASHED, RESUMED};
use crate::shutdown::BootExit;
use crate::signal::Signal;
use crate::spawn::DEFAULT_PATH;
use crate::spec::{Boot, Spec, SpecError};

/// The job `boot`: init's own environment, directory and streams, and the address of the API.
/// What is not text is shown with a mark in its place, and handed on as it is.
pub(super) fn boot_spec(
    options: &Options,
    api: SocketAddr,
    boot_exit: BootExit,
    in_vm: bool,
    own: (u32, u32),
) -> Result<Spec, SpecError> {
    let cwd = env::current_dir().unwrap_or_else(|_| "/".into());
    let mut words = options.command.iter().cloned();
    let exec = words.next().unwrap_or_default();
    let exec = if exec.as_bytes().contains(&b'/') { cwd.join(exec).into() } else { exec };
    let args: Vec<OsString> = words.collect();
    let ours = ["INIT_API", "INIT_TOKEN_FILE", RESUMED, CHECKED, CRASHED];
    let is_ours = |name: &OsString| ours.iter().any(|ours| name == ours);
    let mut envs: Vec<(OsString, OsString)> =
        env::vars_os().filter(|(name, _)| !is_ours(name)).collect();
    if in_vm && env::var_os("PATH").is_none_or(|path| path.is_empty()) {
        // The kernel gives its first process none, and hands on what somebody has typed there.
        envs.retain(|(name, _)| name != "PATH");
        envs.push(("PATH".into(), DEFAULT_PATH.into()));
    }
    envs.push(("INIT_API".into(), api.to_string().into()));
    if let Some(path) = &options.token_file {
        envs.push(("INIT_TOKEN_FILE".into(), cwd.join(path).into()));
    }
    let shown = |text: &OsStr| text.to_string_lossy().into_owned();
    let mut wire = JobSpec::new(shown(&exec));
    wire.args = args.iter().map(|arg| shown(arg)).collect();
    wire.envs = envs
        .iter()
        .map(|(name, value)| (shown(name), shown(value)))
        .filter(|(name, _)| !name.is_empty() && !name.contains('='))
        .collect();
    wire.cwd = Some(shown(cwd.as_os_str()));
    wire.stdin = Stdio::Inherit;
    wire.stop.timeout_ms = u64::try_from(options.grace.as_millis()).unwrap_or(u64::MAX);
    if let Some(told) = options.rewrites.told(Signal::TERM).filter(|told| *told != Signal::TERM) {
        wire.stop.signal = SignalName::Name(told.to_string());
    }
    if boot_exit == BootExit::Respawn {
        wire.restart = Restart { policy: Policy::Always, delay_ms: 200, ..Restart::default() };
    }
    // None of these can hold a NUL: they come from the kernel as C strings.
    let raw = |text: &OsStr| CString::new(text.as_bytes()).unwrap_or_default();
    let boot = Boot {
        args: args.iter().map(|arg| raw(arg)).collect(),
        envs: envs
            .iter()
            .map(|(name, value)| raw(&[name.as_os_str(), value].join(OsStr::new("="))))
            .collect(),
        cwd: raw(cwd.as_os_str()),
        as_group: options.signal_group,
    };
    Ok(Spec::check(&wire, &Accounts::default(), own)?.of_boot(boot))
}
