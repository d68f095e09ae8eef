//! Who is asked for names: `/run/resolv.conf`, which `/etc/resolv.conf` leads to where it is nobody else's.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::symlink;
use std::path::Path;

use tracing::error;

const OURS: &str = "/run/resolv.conf";
const EVERYBODYS: &str = "/etc/resolv.conf";
/// How many the C library asks.
const MOST: usize = 3;

/// Writes them down, if there are some.
pub(super) fn write(resolvers: &[IpAddr]) {
    if resolvers.is_empty() {
        return;
    }
    if let Err(error) = put(Path::new(OURS), resolvers) {
        error!("cannot write {OURS}: {error}");
    }
}

/// Has programs find it, once /etc can be written.
pub(in crate::early) fn show() {
    // A file of the administrator's, or a link somewhere else, stays.
    if Path::new(EVERYBODYS).symlink_metadata().is_err()
        && Path::new(OURS).exists()
        && let Err(error) = symlink(OURS, EVERYBODYS)
    {
        error!(
            "names are not found: {EVERYBODYS} cannot be made, which would lead to {OURS}: {error}"
        );
    }
}

fn put(path: &Path, resolvers: &[IpAddr]) -> io::Result<()> {
    let lines = resolvers.iter().take(MOST).map(|ip| format!("nameserver {ip}\n"));
    let new = path.with_extension("new");
    fs::write(&new, lines.collect::<String>())?;
    fs::rename(new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_three_are_written_down() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("resolv.conf");
        let all: Vec<IpAddr> = (1..6).map(|last| IpAddr::from([10, 0, 0, last])).collect();
        put(&path, &all).expect("written");
        let text = fs::read_to_string(&path).expect("there");
        assert_eq!(text, "nameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver 10.0.0.3\n");
    }
}
