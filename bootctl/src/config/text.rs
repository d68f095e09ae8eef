//! The text of a file that somebody has put where a config is expected. Whatever it is, reading it
//! does not take long: it is a regular file of a bounded size, or none.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::SystemTime;

use nix::fcntl::OFlag;

use super::stamp::Stamp;

/// The largest that is read, in bytes: far more than anybody writes by hand.
const LARGEST: u64 = 1 << 20;

/// Reads it. A pipe is not waited for, and what never ends is not begun.
pub(super) fn read(path: &Path) -> io::Result<String> {
    read_stamped(path).map(|(text, _)| text)
}

/// The same, with what the file is known by as long as nobody writes it.
pub(super) fn read_stamped(path: &Path) -> io::Result<(String, Option<Stamp>)> {
    let unblocked = OFlag::O_NONBLOCK.bits();
    let file = OpenOptions::new().read(true).custom_flags(unblocked).open(path)?;
    let about = file.metadata()?;
    if about.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    if !about.is_file() {
        let message = "it is no regular file; put one in its place";
        return Err(io::Error::new(ErrorKind::InvalidInput, message));
    }
    let mut text = String::new();
    let length = file.take(LARGEST + 1).read_to_string(&mut text)?;
    if u64::try_from(length).unwrap_or(u64::MAX) > LARGEST {
        let message = "it is larger than 1 MiB, which is the most that is read";
        return Err(io::Error::new(ErrorKind::FileTooLarge, message));
    }
    // What is written from now on is written later than this.
    Ok((text, Stamp::of(&about, SystemTime::now())))
}

#[cfg(test)]
mod tests {
    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    #[test]
    fn what_is_no_plain_file_or_too_large_is_refused_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        mkfifo(&path("fifo"), Mode::from_bits_truncate(0o600)).expect("made");
        std::fs::write(path("large"), vec![b'#'; 2 << 20]).expect("written");
        std::fs::write(path("fine"), vec![b'#'; 1 << 20]).expect("written");
        let told = |path: &Path| read(path).expect_err("refused").to_string();
        assert!(told(&path("fifo")).contains("no regular file"));
        assert!(told(Path::new("/dev/zero")).contains("no regular file"));
        assert!(told(&path("large")).contains("larger than 1 MiB"));
        assert!(told(folder.path()).contains("is a directory"));
        assert_eq!(read(&path("fine")).expect("read").len(), 1 << 20);
    }
}
