//! The pieces that root's power comes in, by name: `capabilities(7)`.

/// The names without `CAP_`, each at the kernel's number.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// A set of capabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(u64);

impl Capabilities {
    /// From names such as `NET_BIND_SERVICE`, `cap_net_bind_service`; the name that is none is
    /// the error.
    pub fn parse(names: &[String]) -> Result<Self, &str> {
        names.iter().try_fold(Self::default(), |set, name| {
            let upper = name.to_ascii_uppercase();
            let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
            match NAMES.iter().position(|known| *known == bare) {
                Some(number) => Ok(Self(set.0 | 1 << number)),
                None => Err(name.as_str()),
            }
        })
    }

    /// A bit each, at the kernel's number.
    #[must_use]
    pub fn bits(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_kernels_numbers() {
        let parse = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(ToString::to_string).collect();
            Capabilities::parse(&names).map(Capabilities::bits).map_err(str::to_owned)
        };
        assert_eq!(parse(&["CHOWN", "cap_net_bind_service"]), Ok(1 | 1 << 10));
        assert_eq!(parse(&["CHECKPOINT_RESTORE"]), Ok(1 << 40));
        assert_eq!(parse(&[]), Ok(0));
        assert_eq!(parse(&["KILL", "FLY"]), Err("FLY".into()));
    }
}
