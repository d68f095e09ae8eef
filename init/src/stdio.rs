//! A child's three standard streams: what they are opened from, and the ends that init keeps.

use std::fs::OpenOptions;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

use init_wire::{JobSpec, Stdio};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::{posix_openpt, unlockpt};
use nix::unistd::{Uid, fchown, pipe2};

use crate::descriptor::raised;
use crate::event::Stage;
use crate::sys;

/// The window of a terminal that nobody has set.
const ROWS: u16 = 24;
const COLUMNS: u16 = 80;

/// The three, open for a child.
#[derive(Debug)]
pub struct Streams {
    ends: [RawFd; 3],
    /// What of these is only for this child.
    _opened: Vec<OwnedFd>,
    /// What init keeps.
    pub kept: Kept,
}

/// What is at init's end of a child's streams.
#[derive(Debug, Default)]
pub struct Kept {
    /// Where its input is written.
    pub stdin: Option<OwnedFd>,
    /// Where its output is read; of a terminal, all of it.
    pub stdout: Option<OwnedFd>,
    /// Where its errors are read.
    pub stderr: Option<OwnedFd>,
}

impl Kept {
    /// How many descriptors these are for `wire`.
    #[must_use]
    pub fn wanted(wire: &JobSpec) -> usize {
        let piped = [&wire.stdin, &wire.stdout, &wire.stderr];
        let piped = piped.into_iter().filter(|s| matches!(s, Stdio::Log | Stdio::Pipe)).count();
        if wire.tty { 2 } else { piped }
    }
}

impl Streams {
    /// Opens what `wire` names. `null` is `/dev/null` from one child to the next. Nothing is waited
    /// for: a pipe without a peer is refused with `ENXIO`.
    pub fn open(
        wire: &JobSpec,
        user: Option<u32>,
        null: &mut Option<OwnedFd>,
    ) -> Result<Self, (Stage, Errno)> {
        if wire.tty {
            return Self::terminal(user).map_err(|errno| (Stage::Terminal, errno));
        }
        let (mut kept, mut opened) = (Kept::default(), Vec::new());
        let mut end = |stdio: &Stdio, target, ours: &mut Option<OwnedFd>| {
            let fd = match stdio {
                Stdio::Inherit => return Ok(target),
                Stdio::Null => {
                    let kept = match null.take() {
                        Some(kept) => kept,
                        None => file("/dev/null", OpenOptions::new().read(true).write(true))?,
                    };
                    return Ok(null.insert(kept).as_raw_fd());
                }
                Stdio::File(path) if target == 0 => file(path, OpenOptions::new().read(true))?,
                Stdio::File(path) => {
                    let mut options = OpenOptions::new();
                    options.append(true).create(true).mode(0o644);
                    file(path, &mut options)?
                }
                Stdio::Log | Stdio::Pipe => {
                    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
                    let (own, childs) =
                        if target == 0 { (writer, reader) } else { (reader, writer) };
                    fcntl(&own, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
                    *ours = Some(own);
                    raised(childs)?
                }
            };
            opened.push(fd);
            Ok(opened.last().map_or(target, AsRawFd::as_raw_fd))
        };
        let ends = [
            end(&wire.stdin, 0, &mut kept.stdin).map_err(|errno| (Stage::Stdin, errno))?,
            end(&wire.stdout, 1, &mut kept.stdout).map_err(|errno| (Stage::Stdout, errno))?,
            end(&wire.stderr, 2, &mut kept.stderr).map_err(|errno| (Stage::Stderr, errno))?,
        ];
        Ok(Self { ends, _opened: opened, kept })
    }

    /// A terminal of its own, as all three.
    fn terminal(user: Option<u32>) -> Result<Self, Errno> {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let master = posix_openpt(flags)?;
        unlockpt(&master)?;
        let childs = raised(sys::open_peer(&master)?)?;
        sys::set_window(&childs, ROWS, COLUMNS)?;
        if let Some(user) = user {
            // As a login does. Who may not do this is not root, and it is his anyway.
            let _ = fchown(&childs, Some(Uid::from_raw(user)), None);
        }
        let output = master.as_fd().try_clone_to_owned().map_err(|error| sys::errno(&error))?;
        let input = output.try_clone().map_err(|error| sys::errno(&error))?;
        let kept = Kept { stdin: Some(input), stdout: Some(output), stderr: None };
        Ok(Self { ends: [childs.as_raw_fd(); 3], _opened: vec![childs], kept })
    }

    /// What to duplicate into place, in the order of the streams.
    #[must_use]
    pub fn ends(&self) -> [RawFd; 3] {
        self.ends
    }
}

fn file(path: &str, options: &mut OpenOptions) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = options.custom_flags(flags.bits()).open(path).map_err(|error| sys::errno(&error))?;
    let blocking = fcntl(&file, FcntlArg::F_GETFL)? & !OFlag::O_NONBLOCK.bits();
    fcntl(&file, FcntlArg::F_SETFL(OFlag::from_bits_retain(blocking)))?;
    raised(file.into())
}
