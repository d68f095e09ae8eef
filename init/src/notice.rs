//! What jobs say of themselves: `READY=1` and the like by `sd_notify(3)`, or a line on a pipe.
//!
//! Each run of a job that asks for it has a socket or a pipe of its own, and a task that reads it.
//! The kernel says who has sent a datagram, and only the job's own processes are listened to. The
//! queue to the reactor is short: who says more than init takes in waits in the kernel's queue.

use std::collections::HashMap;
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use init_wire::Ready;
use nix::cmsg_space;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, Shutdown, SockFlag, SockType, UnixAddr,
    UnixCredentials, bind, getsockname, recvmsg, setsockopt, shutdown, socket, sockopt,
};
use nix::unistd::pipe2;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::AbortHandle;

use crate::descriptor::{Foreign, raised};
use crate::id::{JobId, Pid};
use crate::inherit::{Inherited, Lost};
use crate::job::Notice;
use crate::limits::TROUBLE;
use crate::spec::Spec;
use crate::store::Order;
use crate::sys;

/// Messages on their way to the reactor.
pub const QUEUE: usize = 16;
/// Messages with descriptors on their way, of all jobs: those are not counted as kept yet.
const WITH_RIGHTS: usize = 4;
/// Messages that the kernel queues; mostly it is 10 or 512.
const MAX_UNREAD: u32 = 4096;
/// The longest message; what is longer is not read at all.
const MAX_MESSAGE: usize = 4096;
/// Characters of `STATUS=` that are kept.
const MAX_TEXT: usize = 256;

/// A message of a job's run.
#[derive(Debug)]
pub struct Message {
    /// The job.
    pub job: JobId,
    run: u64,
    /// What it says.
    pub words: Words,
}

/// What a run says, as it came.
#[derive(Debug)]
pub enum Words {
    /// A line on its pipe.
    Line,
    /// A datagram, and who has sent it, as this process's own namespace numbers him.
    Datagram {
        /// The text.
        text: String,
        /// The sender.
        sender: i32,
        /// What it gives for the job's next run.
        rights: Rights,
    },
}

/// Descriptors that came with a datagram.
#[derive(Debug, Default)]
pub struct Rights {
    /// As many of them as may be kept.
    pub fds: Vec<Foreign>,
    /// How many there were besides.
    pub left_out: usize,
    /// Given back when they have arrived.
    permit: Option<OwnedSemaphorePermit>,
}

/// A message that nobody has handled, as it is written down.
#[derive(Debug, Serialize, Deserialize)]
pub struct Heard {
    job: JobId,
    /// The text and its sender, if it is a datagram.
    datagram: Option<(String, i32)>,
    fds: Vec<RawFd>,
    left_out: usize,
}

impl Heard {
    /// What is to be known of `message`.
    #[must_use]
    pub fn of(message: &Message) -> Self {
        let job = message.job.clone();
        match &message.words {
            Words::Line => Self { job, datagram: None, fds: Vec::new(), left_out: 0 },
            Words::Datagram { text, sender, rights } => Self {
                job,
                datagram: Some((text.clone(), *sender)),
                fds: rights.fds.iter().map(Foreign::as_raw).collect(),
                left_out: rights.left_out,
            },
        }
    }

    /// Without what is not there any more.
    pub fn leave_out(&mut self, is_there: impl Fn(RawFd) -> bool) {
        self.fds.retain(|fd| is_there(*fd));
    }

    /// The descriptors that are a part of it.
    pub fn fds(&self) -> impl Iterator<Item = RawFd> {
        self.fds.iter().copied()
    }
}

/// Listens to the runs of all jobs.
#[derive(Debug)]
pub struct Ears {
    queue: mpsc::Sender<Message>,
    with_rights: Arc<Semaphore>,
    runs: HashMap<JobId, Listening>,
    last_run: u64,
}

#[derive(Debug)]
struct Listening {
    run: u64,
    warned: bool,
    warned_of_store: bool,
    /// What its datagrams come to, if it was given one.
    socket: Option<Arc<AsyncFd<OwnedFd>>>,
    store_max: usize,
    tasks: Vec<AbortHandle>,
    /// The pipe that it was given instead, and who reads it.
    pipe: Option<(RawFd, AbortHandle)>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        let Some(socket) = &self.socket else { return };
        // What nobody has read is closed one by one, as what is read: closed with the socket, it could
        // linger. And nothing more comes.
        let _ = shutdown(socket.as_raw_fd(), Shutdown::Read);
        for _ in 0..MAX_UNREAD {
            if receive(socket.get_ref(), 0).is_err() {
                return;
            }
        }
    }
}

/// What a run is listened to with, as it is written down.
#[derive(Debug, Serialize, Deserialize)]
pub struct Saved {
    job: JobId,
    warned: bool,
    warned_of_store: bool,
    store_max: usize,
    socket: Option<RawFd>,
    pipe: Option<RawFd>,
}

impl Saved {
    /// Without what is not there any more.
    pub fn leave_out(&mut self, is_there: impl Fn(RawFd) -> bool) {
        self.socket = self.socket.filter(|fd| is_there(*fd));
        self.pipe = self.pipe.filter(|fd| is_there(*fd));
    }

    /// The descriptors that are a part of it.
    pub fn fds(&self) -> impl Iterator<Item = RawFd> {
        self.socket.into_iter().chain(self.pipe)
    }
}

/// What a run is given to speak, and what it is heard on.
#[derive(Debug, Default)]
pub struct Mouth {
    /// What `NOTIFY_SOCKET` says.
    pub socket: Option<String>,
    /// The end of a pipe, and the descriptor it is to become.
    pub pipe: Option<(OwnedFd, u32)>,
    heard_on: (Option<OwnedFd>, Option<pipe::Receiver>),
    /// How many descriptors it may give at once.
    store_max: usize,
}

impl Mouth {
    /// Opens what `spec` asks for. To be called within the runtime.
    pub fn open(spec: &Spec) -> Result<Self, Errno> {
        let mut mouth = Self { store_max: spec.store_max, ..Self::default() };
        if spec.notifies() {
            let (socket, name) = open_socket()?;
            (mouth.socket, mouth.heard_on.0) = (Some(name), Some(socket));
        }
        if let Ready::Fd(target) = spec.ready {
            let (ear, lips) = pipe2(OFlag::O_CLOEXEC)?;
            let ear = pipe::Receiver::from_owned_fd(ear).map_err(|error| sys::errno(&error))?;
            (mouth.pipe, mouth.heard_on.1) = (Some((raised(lips)?, target)), Some(ear));
        }
        Ok(mouth)
    }

    /// Descriptors that it takes.
    #[must_use]
    pub fn count(&self) -> usize {
        let (socket, pipe) = &self.heard_on;
        usize::from(socket.is_some())
            + usize::from(pipe.is_some())
            + usize::from(self.pipe.is_some())
    }
}

impl Ears {
    /// Ears, and where what they hear arrives.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Message>) {
        let (queue, arrivals) = mpsc::channel(QUEUE);
        let with_rights = Arc::new(Semaphore::new(WITH_RIGHTS));
        (Self { queue, with_rights, runs: HashMap::new(), last_run: 0 }, arrivals)
    }

    /// Begins to listen to a new run of `job`, and to that one only.
    pub fn listen(&mut self, job: &JobId, mouth: Mouth) {
        if mouth.count() == 0 {
            self.stop(job);
            return;
        }
        let (socket, pipe) = mouth.heard_on;
        self.last_run += 1;
        let (run, mut tasks, mut heard) = (self.last_run, Vec::new(), None);
        let voice = Voice { job: job.clone(), run, queue: self.queue.clone() };
        if let Some(pipe) = pipe {
            let (fd, voice) = (pipe.as_raw_fd(), voice.clone());
            let task = tokio::spawn(voice.of_pipe(pipe)).abort_handle();
            heard = Some((fd, task.clone()));
            tasks.push(task);
        }
        let socket = socket.and_then(|socket| sys::watch(socket).ok()).map(Arc::new);
        if let Some(socket) = socket.clone() {
            let with_rights = (mouth.store_max > 0).then(|| Arc::clone(&self.with_rights));
            let of_socket = voice.of_socket(socket, with_rights, mouth.store_max);
            tasks.push(tokio::spawn(of_socket).abort_handle());
        }
        let (warned, warned_of_store, store_max) = (false, false, mouth.store_max);
        let listening =
            Listening { run, warned, warned_of_store, socket, store_max, tasks, pipe: heard };
        self.runs.insert(job.clone(), listening);
    }

    /// What runs are listened to with, to be written down.
    #[must_use]
    pub fn save(&self) -> Vec<Saved> {
        let saved = |(job, run): (&JobId, &Listening)| Saved {
            job: job.clone(),
            warned: run.warned,
            warned_of_store: run.warned_of_store,
            store_max: run.store_max,
            socket: run.socket.as_ref().map(AsRawFd::as_raw_fd),
            pipe: run.pipe.as_ref().filter(|(_, task)| !task.is_finished()).map(|(fd, _)| *fd),
        };
        self.runs.iter().map(saved).collect()
    }

    /// Listens to the runs that were written down. To be called within the runtime.
    pub fn restore(&mut self, saved: Vec<Saved>, inherited: &mut Inherited) -> Result<(), Lost> {
        for Saved { job, warned, warned_of_store, store_max, socket, pipe } in saved {
            let socket = socket.map(|fd| inherited.claim(fd)).transpose()?;
            let pipe = pipe.map(|fd| {
                let owned = inherited.claim(fd)?;
                pipe::Receiver::from_owned_fd(owned).map_err(|_| Lost(fd))
            });
            let heard_on = (socket, pipe.transpose()?);
            self.listen(&job, Mouth { heard_on, store_max, ..Mouth::default() });
            if let Some(run) = self.runs.get_mut(&job) {
                (run.warned, run.warned_of_store) = (warned, warned_of_store);
            }
        }
        Ok(())
    }

    /// A message that was written down, if its run is still listened to.
    pub fn again(&self, heard: Heard, inherited: &mut Inherited) -> Result<Option<Message>, Lost> {
        let Heard { job, datagram, fds, left_out } = heard;
        let fds = fds.into_iter().map(|fd| inherited.claim(fd).map(Foreign::from));
        let fds = fds.collect::<Result<_, Lost>>()?;
        let words = datagram.map_or(Words::Line, |(text, sender)| Words::Datagram {
            text,
            sender,
            rights: Rights { fds, left_out, permit: None },
        });
        let run = self.runs.get(&job).map(|listening| listening.run);
        Ok(run.map(|run| Message { job, run, words }))
    }

    /// Descriptors that runs are listened to with.
    #[must_use]
    pub fn count(&self) -> usize {
        self.runs.values().map(|listening| listening.tasks.len()).sum()
    }

    /// Whether anybody is listened to.
    #[must_use]
    pub fn are_open(&self) -> bool {
        !self.runs.is_empty()
    }

    /// Listens to a job no more.
    pub fn stop(&mut self, job: &JobId) {
        // Mostly nobody is; then not even the name is looked up.
        if self.are_open() {
            self.runs.remove(job);
        }
    }

    /// A datagram that has come to a job and was not read yet; none if it is one that nobody could
    /// mean. An error, if there is no further one.
    pub fn unheard(&self, job: &JobId) -> Result<Option<Message>, Errno> {
        let listening = self.runs.get(job).ok_or(Errno::EAGAIN)?;
        let socket = listening.socket.as_ref().ok_or(Errno::EAGAIN)?;
        let words = receive(socket.get_ref(), listening.store_max)?;
        let message = |words| Message { job: job.clone(), run: listening.run, words };
        Ok(words.map(message))
    }

    /// Whether a message is of the run that is listened to.
    #[must_use]
    pub fn knows(&self, message: &Message) -> bool {
        self.runs.get(&message.job).is_some_and(|listening| listening.run == message.run)
    }

    /// Whether it is the first time that a stranger has spoken to this run.
    pub fn is_first_stranger(&mut self, job: &JobId) -> bool {
        self.runs.get_mut(job).is_some_and(|run| !std::mem::replace(&mut run.warned, true))
    }

    /// Whether it is the first time that this run has given more than is kept.
    pub fn is_first_excess(&mut self, job: &JobId) -> bool {
        let run = self.runs.get_mut(job);
        run.is_some_and(|run| !std::mem::replace(&mut run.warned_of_store, true))
    }
}

#[derive(Clone)]
struct Voice {
    job: JobId,
    run: u64,
    queue: mpsc::Sender<Message>,
}

impl Voice {
    async fn say(&self, words: Words) -> bool {
        let message = Message { job: self.job.clone(), run: self.run, words };
        self.queue.send(message).await.is_ok()
    }

    /// The first line is all that counts.
    async fn of_pipe(self, mut pipe: pipe::Receiver) {
        let mut buffer = [0; 64];
        while let Ok(length @ 1..) = pipe.read(&mut buffer).await {
            if buffer.get(..length).is_some_and(|read| read.contains(&b'\n')) {
                self.say(Words::Line).await;
                return;
            }
        }
    }

    async fn of_socket(
        self,
        socket: Arc<AsyncFd<OwnedFd>>,
        with_rights: Option<Arc<Semaphore>>,
        store_max: usize,
    ) {
        loop {
            let Ok(mut ready) = socket.readable().await else { return };
            let permit = match &with_rights {
                Some(all) => Arc::clone(all).acquire_owned().await.ok(),
                None => None,
            };
            match receive(ready.get_inner(), store_max) {
                Ok(Some(mut words)) => {
                    words.bring(permit);
                    if !self.say(words).await {
                        return;
                    }
                }
                Err(Errno::EAGAIN) => ready.clear_ready(),
                Ok(None) | Err(Errno::EINTR) => {}
                // Out of memory, most likely: it passes.
                Err(_) => tokio::time::sleep(TROUBLE).await,
            }
            // Who talks without end leaves their turn to the others.
            tokio::task::yield_now().await;
        }
    }
}

/// A datagram socket under a name of the kernel's choice, which is free and no file.
fn open_socket() -> Result<(OwnedFd, String), Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
    setsockopt(&socket, sockopt::PassCred, &true)?;
    bind(socket.as_raw_fd(), &UnixAddr::new_unnamed())?;
    let bound = getsockname::<UnixAddr>(socket.as_raw_fd())?;
    let name = bound.as_abstract().ok_or(Errno::EADDRNOTAVAIL)?;
    let name = format!("@{}", String::from_utf8_lossy(name));
    Ok((socket, name))
}

/// The most descriptors that a datagram can carry.
const MAX_RIGHTS: usize = 253;

/// One datagram; `None` if it is none that anybody could mean. At most `store_max` descriptors that
/// come with it are kept, if they are to be. The others are closed, so a sender who waits for that
/// (`BARRIER=1`) waits just until it has been read.
fn receive(socket: &OwnedFd, store_max: usize) -> Result<Option<Words>, Errno> {
    let mut text = [0; MAX_MESSAGE];
    let mut space = cmsg_space!(UnixCredentials, [RawFd; MAX_RIGHTS]);
    let mut parts = [IoSliceMut::new(&mut text)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let received = recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let is_whole = !received.flags.contains(MsgFlags::MSG_TRUNC);
    let (mut sender, mut fds) = (None, Vec::new());
    // Cut off where init has no descriptors left: then it has closed them already.
    for message in received.cmsgs().into_iter().flatten() {
        match message {
            ControlMessageOwned::ScmCredentials(who) => sender = Some(who.pid()),
            other => fds.extend(sys::rights(other).into_iter().map(Foreign::from)),
        }
    }
    let length = received.bytes;
    let text = String::from_utf8_lossy(text.get(..length).unwrap_or_default()).into_owned();
    let Some(sender) = sender.filter(|pid| is_whole && *pid > 0) else { return Ok(None) };
    if !matches!(Order::read(&text), Some(Order::Keep(_))) {
        fds.clear();
    }
    let left_out = fds.len().saturating_sub(store_max);
    fds.truncate(store_max);
    Ok(Some(Words::Datagram { text, sender, rights: Rights { fds, left_out, permit: None } }))
}

impl Words {
    /// With descriptors, it counts as on its way until it has arrived.
    fn bring(&mut self, by: Option<OwnedSemaphorePermit>) {
        match self {
            Self::Datagram { rights: Rights { fds, permit, .. }, .. } if !fds.is_empty() => {
                *permit = by;
            }
            Self::Datagram { .. } | Self::Line => {}
        }
    }
}

/// What a line of a datagram means, if it means anything here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// Something of the job's.
    Notice(Notice),
    /// This process is to be the main one.
    Main(Pid),
}

/// Reads `NAME=VALUE` lines. Unknown ones mean something to somebody else.
pub fn read(text: &str) -> impl Iterator<Item = Line> {
    text.lines().filter_map(|line| {
        let (name, value) = line.split_once('=')?;
        let micros = || value.parse().ok().map(Duration::from_micros);
        Some(Line::Notice(match (name, value) {
            ("READY", "1") => Notice::Ready,
            ("RELOADING", "1") => Notice::Reloading,
            ("STOPPING", "1") => Notice::Stopping,
            ("WATCHDOG", "1") => Notice::Alive,
            ("WATCHDOG", "trigger") => Notice::Broken,
            ("STATUS", text) => Notice::Text(shown(text)),
            ("WATCHDOG_USEC", _) => Notice::Watchdog(bounded(micros()?)),
            ("EXTEND_TIMEOUT_USEC", _) => Notice::Extend(bounded(micros()?)),
            ("MAINPID", _) => return Pid::new(value.parse().ok()?).map(Line::Main),
            _ => return None,
        }))
    })
}

/// What the clock can hold, whatever is asked for.
fn bounded(duration: Duration) -> Duration {
    const YEAR: Duration = Duration::from_hours(365 * 24);
    duration.min(YEAR)
}

fn shown(text: &str) -> Box<str> {
    text.chars().take(MAX_TEXT).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notices(text: &str) -> Vec<Line> {
        read(text).collect()
    }

    #[test]
    fn i04_each_word_is_understood() {
        let notice = |notice| vec![Line::Notice(notice)];
        assert_eq!(notices("READY=1"), notice(Notice::Ready));
        assert_eq!(notices("RELOADING=1\nMONOTONIC_USEC=5"), notice(Notice::Reloading));
        assert_eq!(notices("STOPPING=1\n"), notice(Notice::Stopping));
        assert_eq!(notices("WATCHDOG=1"), notice(Notice::Alive));
        assert_eq!(notices("WATCHDOG=trigger"), notice(Notice::Broken));
        let limit = Duration::from_millis(2);
        assert_eq!(notices("WATCHDOG_USEC=2000"), notice(Notice::Watchdog(limit)));
        assert_eq!(notices("EXTEND_TIMEOUT_USEC=2000"), notice(Notice::Extend(limit)));
        assert_eq!(notices("STATUS=a\tb"), notice(Notice::Text("a b".into())));
        assert_eq!(notices("MAINPID=77"), [Line::Main(Pid::new(77).unwrap())]);
        let both = [Line::Notice(Notice::Text("up".into())), Line::Notice(Notice::Ready)];
        assert_eq!(notices("STATUS=up\nREADY=1"), both);
    }

    #[test]
    fn i04_nonsense_is_ignored() {
        for text in [
            "",
            "=",
            "READY",
            "READY=2",
            "ready=1",
            "MAINPID=1",
            "MAINPID=-5",
            "MAINPID=x",
            "WATCHDOG=2",
            "WATCHDOG_USEC=-1",
            "WATCHDOG_USEC=99999999999999999999999",
            "\0\0",
        ] {
            assert_eq!(notices(text), [], "{text:?}");
        }
        let [Line::Notice(Notice::Watchdog(limit))] =
            &notices("WATCHDOG_USEC=18446744073709551615")[..]
        else {
            panic!("a watchdog");
        };
        assert!(*limit <= Duration::from_hours(365 * 24));
    }
}
