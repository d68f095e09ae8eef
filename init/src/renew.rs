//! init becomes the init that is on disk, in place: same process, same children, same descriptors.
//!
//! ```text
//! running ─asked─▶ Checking ─the new program can read the state─▶ Finishing ─nobody is in the middle─▶ exec
//!    ▲                │ it cannot                                     │ somebody stays in the middle    │ fails
//!    └────────────────┴───────────────────────────────────────────────┴─────────────────────────────────┘
//! ```
//!
//! All that init knows is written to a file in memory, which the new program reads: a line that names the
//! format, then JSON whose unknown fields are skipped, then the bytes of captured output. A child that
//! runs the new program reads it first, so that a program which cannot is never become.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{env, fs};

use bytes::Bytes;
use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::execve;
use serde::{Deserialize, Serialize};

use crate::api::{Conversation, Pending};
use crate::clock::mono;
use crate::event::{Refusal, Ticket, Unsent};
use crate::id::Pid;
use crate::inherit::{Inherited, Lost};
use crate::signal::Exit;
use crate::spec::Limit;
use crate::sys::crash::Crash;
use crate::{
    birth, chronicle, input, listen, notice, oom, output, store, stranger, sys, table, tree,
};

/// Which descriptor the state is in, for an init that has become another.
pub const RESUMED: &str = "INIT_STATE";
/// The same for a child that is only to read it and say so.
pub const CHECKED: &str = "INIT_STATE_CHECK";
/// How the process has crashed that goes on so.
pub const CRASHED: &str = "INIT_CRASH";
/// What that child says.
pub const PROOF: &str = "init can read this state\n";

/// The first line of the file, before the length of the JSON. The number changes when older programs
/// could not make sense of it any more.
const FORMAT: &str = "jobinit-state 1 ";

/// Bytes that are written at once.
const A_WRITE: usize = 64 * 1024;

/// All that init knows.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    /// Who has written it.
    pub version: String,
    /// init's process.
    pub pid: u32,
    /// When init was started first.
    #[serde(with = "mono")]
    pub started: Instant,
    /// Where init was started.
    #[serde(with = "path")]
    pub cwd: PathBuf,
    /// What init was started as.
    #[serde(with = "path")]
    pub program: PathBuf,
    /// Whether it is the first process of a machine.
    pub in_vm: bool,
    /// Answers that nobody was there to hear.
    #[serde(default)]
    pub told: Vec<Told>,
    /// Where the API listens.
    pub listener: RawFd,
    /// Connections of the API.
    pub conversations: Vec<Handed>,
    /// The number of the last question.
    pub tickets: u64,
    /// Whether anybody has ever asked for something.
    pub was_asked: bool,
    /// Whether the foreground of init's terminal is init's to choose, if it has one.
    pub terminal: Option<bool>,
    /// What init's own limit of descriptors was.
    pub nofile: Option<Limit>,
    /// Whom the kernel ends first.
    pub oom: Option<oom::Saved>,
    /// The jobs.
    pub table: table::Saved,
    /// Their processes.
    pub trees: tree::Saved,
    /// Those that are not init's children.
    pub strangers: Vec<stranger::Saved>,
    /// The sockets that are kept for them.
    pub sockets: Vec<listen::Saved>,
    /// What they have stored.
    pub stored: Vec<store::Saved>,
    /// What they are listened to with.
    pub ears: Vec<notice::Saved>,
    /// What is written to them.
    pub inputs: Vec<input::Saved>,
    /// What has happened to them lately.
    pub chronicle: chronicle::Saved,
    /// What they have written.
    pub outputs: output::Saved,
    /// How often init has crashed.
    #[serde(default)]
    pub crashes: u32,
    /// Children that have not exec'ed yet, as far as is known.
    #[serde(default)]
    pub births: Vec<birth::Saved>,
    /// A child that has been reaped, and its end not handled.
    #[serde(default)]
    pub ended: Option<(Pid, Exit)>,
    /// Signals that are yet to be sent.
    #[serde(default)]
    pub unsent: Vec<Unsent>,
    /// What jobs have said, and nobody has handled.
    #[serde(default)]
    pub heard: Vec<notice::Heard>,
    /// The same of signals.
    #[serde(default)]
    pub signals: Vec<i32>,
    /// One that was being handled.
    #[serde(default)]
    pub in_hand: Option<i32>,
    /// Which files its descriptors are of, by device and inode: told only where it may be read when
    /// they are others.
    #[serde(default)]
    pub files: Vec<(RawFd, u64, u64)>,
}

/// Paths as bytes: they need not be text.
mod path {
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
        path.as_os_str().as_bytes().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        Vec::<u8>::deserialize(from).map(|bytes| OsString::from_vec(bytes).into())
    }
}

/// An answer to a question.
#[derive(Debug, Serialize, Deserialize)]
pub enum Told {
    /// A job, by its name and in JSON, and whether it was made for that.
    Job(Ticket, bool, String, String),
    /// It is done.
    Done(Ticket),
    /// init has begun to end.
    Ending(Ticket),
    /// It is refused.
    Refused(Ticket, Refusal),
}

/// A conversation as it is written down.
#[derive(Debug, Serialize, Deserialize)]
pub struct Handed {
    stream: RawFd,
    user: u32,
    unread: Vec<u8>,
    pending: Option<Pending>,
}

impl Handed {
    /// What is to be known of `conversation`.
    #[must_use]
    pub fn of(conversation: &Conversation) -> Self {
        let Conversation { stream, user, unread, pending } = conversation;
        let (stream, unread) = (stream.as_raw_fd(), unread.to_vec());
        Self { stream, user: *user, unread, pending: *pending }
    }

    /// One that is nobody's, to see whether it can be read.
    #[must_use]
    pub fn sample() -> Self {
        Self { stream: 3, user: 0, unread: vec![0], pending: Some(Pending::sample()) }
    }

    /// What it waits for.
    #[must_use]
    pub fn ticket(&self) -> Option<Ticket> {
        self.pending?.ticket
    }

    /// The conversation.
    pub fn claim(self, inherited: &mut Inherited) -> Result<Conversation, Lost> {
        let Self { stream, user, unread, pending } = self;
        let stream = TcpStream::from(inherited.claim(stream)?);
        Ok(Conversation { stream, user, unread: Bytes::from(unread), pending })
    }
}

impl State {
    /// The descriptors that are a part of it.
    #[must_use]
    pub fn fds(&self) -> Vec<RawFd> {
        let conversations = self.conversations.iter().map(|handed| handed.stream);
        let sockets = self.sockets.iter().map(listen::Saved::fd);
        [self.listener]
            .into_iter()
            .chain(conversations)
            .chain(sockets)
            .chain(self.trees.fds())
            .chain(self.strangers.iter().map(stranger::Saved::fd))
            .chain(self.stored.iter().flat_map(store::Saved::fds))
            .chain(self.ears.iter().flat_map(notice::Saved::fds))
            .chain(self.inputs.iter().map(input::Saved::fd))
            .chain(self.outputs.fds())
            .chain(self.births.iter().flat_map(birth::Saved::fds))
            .chain(self.heard.iter().flat_map(notice::Heard::fds))
            .collect()
    }

    /// Notes which files its descriptors are of.
    pub fn mark(&mut self) {
        let mark = |fd: RawFd| sys::file_of(fd).map(|(device, number)| (fd, device, number));
        self.files = self.fds().into_iter().filter_map(mark).collect();
    }

    /// Leaves out descriptors that are not there, or are of other files now: it was written down in the
    /// middle of something, or a while ago.
    pub fn leave_out_lost(&mut self) {
        let there = std::mem::take(&mut self.files).into_iter();
        let is_same =
            |&(fd, device, number): &(RawFd, u64, u64)| sys::file_of(fd) == Some((device, number));
        let there: HashSet<_> = there.filter(is_same).map(|(fd, ..)| fd).collect();
        let there = RefCell::new(there);
        // What was about to change hands is its first owner's.
        let is_there = |fd: RawFd| there.borrow_mut().remove(&fd);
        self.trees.leave_out(is_there);
        self.strangers.retain(|saved| is_there(saved.fd()));
        self.sockets.retain(|saved| is_there(saved.fd()));
        self.stored.iter_mut().for_each(|saved| saved.leave_out(is_there));
        self.ears.iter_mut().for_each(|saved| saved.leave_out(is_there));
        self.inputs.retain(|saved| is_there(saved.fd()));
        self.outputs.leave_out(is_there);
        self.births.iter_mut().for_each(|saved| saved.leave_out(is_there));
        self.heard.iter_mut().for_each(|heard| heard.leave_out(is_there));
    }

    /// Leaves out what was under way: it may be what has made init crash, again and again.
    pub fn leave_out_suspects(&mut self) {
        self.heard.clear();
        self.signals.clear();
        self.unsent.clear();
        (self.ended, self.in_hand) = (None, None);
    }

    /// Leaves out what is not true any more because it was written down a while ago: bytes that have been
    /// captured, and what has happened lately.
    pub fn leave_out_latest(&mut self) {
        self.conversations.clear();
        self.told.clear();
        self.outputs.forget_bytes();
        self.trees.forget_spare();
        self.leave_out_suspects();
        self.chronicle = chronicle::Chronicle::default().save();
    }

    /// Writes it down, with the bytes of `outputs`.
    pub fn write(&self, outputs: &output::Outputs) -> io::Result<OwnedFd> {
        let mut file = File::from(new_file()?);
        self.write_to(&file, outputs)?;
        file.seek(SeekFrom::Start(0))?;
        Ok(file.into())
    }

    /// Writes it to where a file stands.
    pub fn write_to(
        &self,
        mut file: impl Write + Seek,
        outputs: &output::Outputs,
    ) -> io::Result<()> {
        // The length is known in the end: what breaks off before says that it is nothing.
        let head = |length: u64| format!("{FORMAT}{length:020}\n");
        file.write_all(head(0).as_bytes())?;
        let begin = file.stream_position()?;
        let mut to = BufWriter::with_capacity(A_WRITE, &mut file);
        serde_json::to_writer(&mut to, self)?;
        let length = to.stream_position()? - begin;
        outputs.write_bytes(&self.outputs, &mut to)?;
        to.flush()?;
        drop(to);
        file.rewind()?;
        file.write_all(head(length).as_bytes())
    }
}

/// A file in memory for a state, which nobody can run: some kernels insist on that, and older ones do
/// not know it.
pub fn new_file() -> io::Result<OwnedFd> {
    let usual = MFdFlags::MFD_CLOEXEC;
    let sealed = usual | MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL);
    let made = memfd_create(c"init-state", sealed).or_else(|errno| match errno {
        Errno::EINVAL => memfd_create(c"init-state", usual),
        errno => Err(errno),
    });
    made.map_err(io::Error::from)
}

/// A program's file, as far as it can be told from another one that takes its place, and from what is
/// written into it later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Likeness {
    file: (u64, u64),
    changed: (i64, i64),
}

impl Likeness {
    /// That of the program which has this path now.
    pub fn of(program: &CString) -> io::Result<Self> {
        let meta = fs::metadata(OsStr::from_bytes(program.as_bytes()))?;
        Ok(Self { file: (meta.dev(), meta.ino()), changed: (meta.ctime(), meta.ctime_nsec()) })
    }
}

/// Why a state cannot be gone on with.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The file cannot be read.
    #[error("it cannot be read: {0}")]
    File(#[from] io::Error),
    /// It is of another kind.
    #[error("it is no state of init's, or that of a later one whose format is another")]
    Format,
    /// It does not mean anything here.
    #[error("it makes no sense here: {0}")]
    Json(#[from] serde_json::Error),
    /// It is another process's.
    #[error("it is that of process {0}")]
    Process(u32),
    /// A descriptor is not there.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// The output that it holds is not as it says.
    #[error(transparent)]
    Output(#[from] output::Unreadable),
}

/// Reads a state; the bytes of captured output follow in the reader.
pub fn read(file: OwnedFd) -> Result<(State, BufReader<File>), Unreadable> {
    let mut from = BufReader::new(File::from(file));
    let mut line = Vec::new();
    // One byte at a time, of a buffer: a line that never ends is none of ours.
    while line.last() != Some(&b'\n') && line.len() < 64 {
        let mut byte = [0];
        from.read_exact(&mut byte)?;
        line.extend(byte);
    }
    let line = String::from_utf8(line).map_err(|_| Unreadable::Format)?;
    let length = line.trim_end().strip_prefix(FORMAT).and_then(|length| length.parse().ok());
    let mut json = Vec::new();
    from.by_ref().take(length.ok_or(Unreadable::Format)?).read_to_end(&mut json)?;
    Ok((serde_json::from_slice(&json)?, from))
}

/// The descriptor that a variable of the environment names.
#[must_use]
pub fn descriptor(variable: &str) -> Option<RawFd> {
    env::var(variable).ok()?.parse().ok().filter(|fd| *fd > 2)
}

/// Says that this program can go on with a state, to who has asked.
pub fn prove() -> io::Result<()> {
    io::stdout().write_all(PROOF.as_bytes())
}

/// What this program was started as: the path, by which there may be another program by now.
#[must_use]
pub fn program(cwd: &Path) -> PathBuf {
    let path = sys::started_as().map(|path| cwd.join(OsString::from_vec(path.into_bytes())));
    // After a crash it may have been this process's own file, which has another name.
    let path = path.filter(|path| !path.starts_with("/proc/self"));
    path.or_else(|| fs::read_link("/proc/self/exe").ok()).unwrap_or_default()
}

/// The arguments that this program was started with.
#[must_use]
pub fn args() -> Vec<CString> {
    env::args_os().filter_map(|arg| CString::new(arg.into_vec()).ok()).collect()
}

/// The environment that it was started with, and where a state is.
#[must_use]
pub fn envs(name: &str, fd: RawFd) -> Vec<CString> {
    let own = CString::new(format!("{name}={fd}"));
    other_envs().into_iter().chain(own.ok()).collect()
}

/// The environment that it was started with, without what one init tells another.
#[must_use]
pub fn other_envs() -> Vec<CString> {
    let is_ours = |(name, _): &(OsString, OsString)| {
        [RESUMED, CHECKED, CRASHED].iter().any(|ours| name == ours)
    };
    let others = env::vars_os().filter(|var| !is_ours(var));
    let others = others.map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat());
    others.filter_map(|text| CString::new(text).ok()).collect()
}

/// What this process has crashed of, if it goes on after that.
#[must_use]
pub fn crash() -> Option<Crash> {
    let crash = env::var(CRASHED).ok().and_then(|text| Crash::read(&text));
    // The handler sets both.
    let is_own = |crash: &Crash| crash.pid == std::process::id() && env::var_os(RESUMED).is_some();
    crash.filter(is_own)
}

/// This process becomes `program`, which was tried, with the state in `file` and all descriptors of
/// it. Returns only if it does not; then everything is as it was.
#[must_use]
pub fn become_program(
    (program, tried): &(CString, Likeness),
    state: &State,
    file: &OwnedFd,
) -> io::Error {
    match Likeness::of(program) {
        Ok(found) if found == *tried => {}
        Ok(_) => {
            return io::Error::other("there is another one by now, which was not tried; try again");
        }
        Err(error) => return error,
    }
    let fds = [state.fds(), vec![file.as_raw_fd()]].concat();
    for fd in &fds {
        // One that is gone is missed by the next process, which says so.
        let _ = sys::set_close_on_exec(*fd, false);
    }
    let Err(errno) = execve(program, &args(), &envs(RESUMED, file.as_raw_fd()));
    for fd in &fds {
        let _ = sys::set_close_on_exec(*fd, true);
    }
    errno.into()
}
