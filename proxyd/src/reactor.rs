//! Which descriptors of a worker have something to tell, and who waits for that.
//!
//! That an answer has come is told at once. All else waits in line, above all what clients ask: some of it is told at a
//! time, and then it is looked again for answers. So what has begun ends before more begins: no more requests are
//! under way than there have to be, and what they use is still in the processor's caches. An answer goes first once:
//! what follows of a long one waits in line as well, or large transfers would keep everybody else out.
//!
//! The kernel tells of edges: that something has come, once. What is known stays known until whoever has tried
//! says that it is no longer so.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{ErrorKind, Result};
use std::num::NonZeroU32;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use slab::Slab;

use crate::limits;

thread_local! {
    static CURRENT: RefCell<Option<Rc<Reactor>>> = const { RefCell::new(None) };
}

/// When those who wait are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// As soon as it is known.
    First,
    /// When it is its turn among all of these.
    InTurn,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// That there is something to read, or the end.
    Read,
    /// That there is room, or that there never will be.
    Write,
    /// That nothing more comes.
    End,
    /// That it is broken.
    Broken,
}

/// What is known of a descriptor.
const READABLE: u8 = 1;
const WRITABLE: u8 = 2;
const ENDED: u8 = 4;
const CLOSED: u8 = 8;
const BROKEN: u8 = 16;

impl Want {
    /// Any of these is it.
    fn known_by(self) -> u8 {
        match self {
            Want::Read => READABLE | ENDED,
            Want::Write => WRITABLE | CLOSED,
            Want::End => ENDED,
            Want::Broken => BROKEN,
        }
    }

    /// Which of those who may wait this one is.
    fn place(self) -> usize {
        match self {
            Want::Read => 0,
            Want::Write => 1,
            Want::End | Want::Broken => 2,
        }
    }
}

fn known_by(events: EpollFlags) -> u8 {
    let has = |flags| events.intersects(flags);
    let hung_up = has(EpollFlags::EPOLLHUP);
    let failed = has(EpollFlags::EPOLLERR);
    let mut known = 0;
    for (bit, is_so) in [
        (READABLE, has(EpollFlags::EPOLLIN)),
        (WRITABLE, has(EpollFlags::EPOLLOUT)),
        (ENDED, hung_up || has(EpollFlags::EPOLLRDHUP)),
        (CLOSED, hung_up || failed),
        (BROKEN, failed),
    ] {
        if is_so {
            known |= bit;
        }
    }
    known
}

/// A descriptor that is watched: a line of the cache.
#[derive(Debug)]
#[repr(align(64))]
struct Seat {
    /// By [`Want::place`].
    waiting: [Option<Waker>; 3],
    /// Who had it before is not meant. Never nothing, which tells a seat from a free one without a further line.
    number: NonZeroU32,
    known: u8,
    /// Also where its name says otherwise.
    lane: Lane,
}

/// How the kernel calls a descriptor: its seat, its number in the upper half, and its lane in the highest bit.
#[derive(Clone, Copy, Debug)]
struct Name(u64);

impl Name {
    const IN_TURN: u64 = 1 << 63;
    const NUMBERS: u32 = u32::MAX >> 1;

    fn new(seat: u32, number: NonZeroU32, lane: Lane) -> Name {
        let lane = if lane == Lane::InTurn { Name::IN_TURN } else { 0 };
        Name(u64::from(seat) | u64::from(number.get() & Name::NUMBERS) << 32 | lane)
    }

    fn seat(self) -> usize {
        usize::try_from(self.0 & u64::from(u32::MAX)).unwrap_or(usize::MAX)
    }

    fn number(self) -> u32 {
        (self.0 >> 32) as u32 & Name::NUMBERS
    }

    fn is_in_turn(self) -> bool {
        self.0 & Name::IN_TURN != 0
    }
}

/// A thread's own.
#[derive(Debug)]
pub(crate) struct Reactor {
    epoll: Epoll,
    seats: RefCell<Slab<Seat>>,
    /// The last number that was given.
    last: Cell<NonZeroU32>,
    /// What the last look has brought: as many of these.
    came: RefCell<Box<[EpollEvent]>>,
    count: Cell<usize>,
    /// Of it what waits for its turn.
    line: RefCell<VecDeque<EpollEvent>>,
}

impl Reactor {
    /// This thread's from now on.
    pub(crate) fn start() -> Result<Rc<Reactor>> {
        let reactor = Rc::new(Reactor {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            seats: RefCell::default(),
            last: Cell::new(NonZeroU32::MIN),
            came: RefCell::new(vec![EpollEvent::empty(); limits::EVENTS].into()),
            count: Cell::new(0),
            line: RefCell::default(),
        });
        CURRENT.set(Some(Rc::clone(&reactor)));
        Ok(reactor)
    }

    /// Whether there is something to tell that is known already.
    pub(crate) fn has_news(&self) -> bool {
        !self.line.borrow().is_empty()
    }

    /// Looks what has come, and waits for something to come if it may.
    pub(crate) fn look(&self, waits: bool) -> Result<()> {
        let timeout = if waits { EpollTimeout::NONE } else { EpollTimeout::ZERO };
        self.count.set(match self.epoll.wait(&mut self.came.borrow_mut(), timeout) {
            Err(Errno::EINTR) => 0,
            count => count?,
        });
        Ok(())
    }

    /// Wakes who waits for what has come first, and then some of those whose turn it is.
    pub(crate) fn tell(&self) {
        for event in self.came.borrow().iter().take(self.count.replace(0)) {
            if self.is_in_turn(Name(event.data())) {
                self.line.borrow_mut().push_back(*event);
            } else {
                self.tell_of(*event);
            }
        }
        for _ in 0..limits::TURN {
            let next = self.line.borrow_mut().pop_front();
            let Some(event) = next else { break };
            self.tell_of(event);
        }
    }

    /// Most say so by their names: then nothing has to be fetched that is looked at much later.
    fn is_in_turn(&self, name: Name) -> bool {
        let seats = self.seats.borrow();
        name.is_in_turn() || seats.get(name.seat()).is_some_and(|seat| seat.lane == Lane::InTurn)
    }

    fn tell_of(&self, event: EpollEvent) {
        let name = Name(event.data());
        let mut woken = [const { None }; 3];
        if let Some(seat) = self.seats.borrow_mut().get_mut(name.seat())
            && seat.number.get() == name.number()
        {
            seat.known |= known_by(event.events());
            let known = seat.known;
            let wants = [Want::Read.known_by(), Want::Write.known_by(), ENDED | BROKEN];
            for ((waits, woken), wants) in seat.waiting.iter_mut().zip(&mut woken).zip(wants) {
                if known & wants != 0 {
                    *woken = waits.take();
                }
            }
        }
        // Whoever is woken may give up a seat at once.
        woken.into_iter().flatten().for_each(Waker::wake);
    }
}

/// Has all of this thread that wait for something to read look whether they still want to.
pub(crate) fn wake_readers() {
    let Some(reactor) = CURRENT.with_borrow(Option::clone) else { return };
    let take = |(_, seat): (usize, &mut Seat)| seat.waiting.get_mut(Want::Read.place())?.take();
    let woken: Vec<Waker> = reactor.seats.borrow_mut().iter_mut().filter_map(take).collect();
    woken.into_iter().for_each(Waker::wake);
}

/// A hold of what is known of a descriptor.
#[derive(Debug)]
pub(crate) struct Watch {
    reactor: Rc<Reactor>,
    name: Name,
}

impl Watch {
    /// Watches a descriptor until it is closed, which is to be after this was dropped; one that has duplicates, until
    /// [`Watch::end`]. That it has room counts as known. Whether it has anew, the kernel tells only
    /// after [`Watch::tell_of_room`].
    pub(crate) fn over(fd: BorrowedFd<'_>, lane: Lane) -> Result<Watch> {
        let reactor = CURRENT.with_borrow(Option::clone).ok_or(Errno::ENXIO)?;
        let last = reactor.last.get();
        let number = last.checked_add(1).filter(|next| next.get() <= Name::NUMBERS);
        let number = number.unwrap_or(NonZeroU32::MIN);
        reactor.last.set(number);
        let seat = Seat { waiting: [None, None, None], number, known: WRITABLE, lane };
        let seat = reactor.seats.borrow_mut().insert(seat);
        let name = Name::new(u32::try_from(seat).unwrap_or(u32::MAX), number, lane);
        let watch = Watch { reactor, name };
        watch.reactor.epoll.add(fd, EpollEvent::new(INCOMING, name.0))?;
        Ok(watch)
    }

    /// Has one that was watched in the first lane change over, or back.
    pub(crate) fn set_lane(&self, lane: Lane) {
        self.with_seat(|seat| {
            seat.lane = lane;
            false
        });
    }

    /// Has the kernel tell of room, too, or not any more.
    pub(crate) fn tell_of_room(&self, fd: impl AsFd, tell: bool) -> Result<()> {
        let events = if tell { INCOMING | EpollFlags::EPOLLOUT } else { INCOMING };
        Ok(self.reactor.epoll.modify(fd, &mut EpollEvent::new(events, self.name.0))?)
    }

    /// Has the kernel tell no more.
    pub(crate) fn end(&self, fd: impl AsFd) {
        // It is there, or there is nothing to be told.
        let _ = self.reactor.epoll.delete(fd);
    }

    /// Tries what is waited for if it may be so, as far as the last look told; else it would block.
    pub(crate) fn attempt<R>(&self, want: Want, attempt: impl FnOnce() -> Result<R>) -> Result<R> {
        if !self.with_seat(|seat| seat.known & want.known_by() != 0) {
            return Err(ErrorKind::WouldBlock.into());
        }
        let result = attempt();
        if let Err(error) = &result
            && error.kind() == ErrorKind::WouldBlock
        {
            self.is_not_so(want);
        }
        result
    }

    /// It was tried and is not so. An end stays known.
    pub(crate) fn is_not_so(&self, want: Want) {
        self.with_seat(|seat| {
            seat.known &= match want {
                Want::Read => !READABLE,
                Want::Write => !WRITABLE,
                Want::End | Want::Broken => !0,
            };
            false
        });
    }

    /// Ready when it may be so. For each of reading, writing and the end one task can wait.
    pub(crate) fn poll(&self, want: Want, cx: &mut Context<'_>) -> Poll<()> {
        let is_known = self.with_seat(|seat| {
            let is_known = seat.known & want.known_by() != 0;
            if !is_known
                && let Some(waiting) = seat.waiting.get_mut(want.place())
                && !waiting.as_ref().is_some_and(|waiting| waiting.will_wake(cx.waker()))
            {
                *waiting = Some(cx.waker().clone());
            }
            is_known
        });
        if is_known { Poll::Ready(()) } else { Poll::Pending }
    }

    /// It is there for as long as the watch is.
    fn with_seat(&self, look: impl FnOnce(&mut Seat) -> bool) -> bool {
        self.reactor.seats.borrow_mut().get_mut(self.name.seat()).is_some_and(look)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let seat = self.reactor.seats.borrow_mut().try_remove(self.name.seat());
        // Outside, because to forget who waits may end more of them.
        drop(seat);
    }
}

const INCOMING: EpollFlags =
    EpollFlags::EPOLLIN.union(EpollFlags::EPOLLRDHUP).union(EpollFlags::EPOLLET);

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::os::fd::OwnedFd;

    use nix::fcntl::OFlag;
    use nix::unistd::{pipe2, write};
    use tokio::task::{spawn_local, yield_now};

    use super::*;
    use crate::executor;

    fn pipe() -> (OwnedFd, OwnedFd) {
        pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).unwrap()
    }

    async fn readable(watch: &Watch) {
        poll_fn(|cx| watch.poll(Want::Read, cx)).await;
    }

    #[test]
    fn a_seat_is_a_line_also_beside_free_ones() {
        #[expect(dead_code, reason = "as a slab has them")]
        enum Entry {
            Free(usize),
            Taken(Seat),
        }
        assert_eq!(size_of::<Entry>(), 64);
    }

    #[test]
    fn what_has_begun_goes_before_what_waits_for_its_turn() {
        let clients = limits::TURN * 2 + 1;
        let order = Rc::new(RefCell::new(Vec::new()));
        executor::run(async {
            let mut ends = Vec::new();
            let mut tasks = Vec::new();
            let (target, to_target) = pipe();
            let mut answered = Some(to_target);
            for number in 0..clients {
                let (ours, theirs) = pipe();
                ends.push(theirs);
                let order = Rc::clone(&order);
                // The first one of all has a target say something.
                let mut target = answered.take().filter(|_| number == 0);
                tasks.push(spawn_local(async move {
                    let watch = Watch::over(ours.as_fd(), Lane::InTurn).unwrap();
                    readable(&watch).await;
                    order.borrow_mut().push("client");
                    if let Some(target) = target.take() {
                        write(target, b"!").unwrap();
                    }
                }));
            }
            let said = Rc::clone(&order);
            tasks.push(spawn_local(async move {
                let watch = Watch::over(target.as_fd(), Lane::First).unwrap();
                readable(&watch).await;
                said.borrow_mut().push("target");
            }));
            yield_now().await;
            for end in &ends {
                write(end, b"!").unwrap();
            }
            for task in tasks {
                task.await.unwrap();
            }
        })
        .unwrap();
        let order = order.take();
        assert_eq!(order.len(), clients + 1);
        let at = order.iter().position(|who| *who == "target");
        assert_eq!(at, Some(limits::TURN), "behind those of the same turn, before all others");
    }

    #[test]
    fn whoever_has_much_to_tell_waits_in_line_as_well() {
        let order = executor::run(async {
            let order = Rc::new(RefCell::new(Vec::new()));
            let mut ends = Vec::new();
            let mut tasks = Vec::new();
            for (who, lane) in [("stream", Lane::InTurn), ("answer", Lane::First)] {
                let (ours, theirs) = pipe();
                let order = Rc::clone(&order);
                ends.push(theirs);
                tasks.push(spawn_local(async move {
                    let watch = Watch::over(ours.as_fd(), Lane::First).unwrap();
                    watch.set_lane(lane);
                    readable(&watch).await;
                    order.borrow_mut().push(who);
                }));
            }
            yield_now().await;
            for end in &ends {
                write(end, b"!").unwrap();
            }
            for task in tasks {
                task.await.unwrap();
            }
            order.take()
        });
        assert_eq!(order.unwrap(), ["answer", "stream"]);
    }

    #[test]
    fn what_was_tried_in_vain_is_told_anew_and_an_end_is_for_good() {
        executor::run(async {
            let (ours, theirs) = pipe();
            let watch = Watch::over(ours.as_fd(), Lane::First).unwrap();
            let mut bytes = [0; 8];
            let mut read =
                || watch.attempt(Want::Read, || Ok(nix::unistd::read(&ours, &mut bytes)?));
            assert_eq!(read().unwrap_err().kind(), ErrorKind::WouldBlock);
            for _ in 0..3 {
                write(&theirs, b"123").unwrap();
                readable(&watch).await;
                assert_eq!(read().unwrap(), 3);
                assert_eq!(read().unwrap_err().kind(), ErrorKind::WouldBlock);
                let waits = poll_fn(|cx| Poll::Ready(watch.poll(Want::Read, cx).is_pending()));
                assert!(waits.await, "it is known that there is nothing");
            }
            drop(theirs);
            poll_fn(|cx| watch.poll(Want::End, cx)).await;
            assert_eq!((read().unwrap(), read().unwrap()), (0, 0));
        })
        .unwrap();
    }

    #[test]
    fn room_is_told_of_to_whoever_asks_to_be_told() {
        executor::run(async {
            let (ours, theirs) = pipe();
            let watch = Watch::over(theirs.as_fd(), Lane::First).unwrap();
            let fill = || watch.attempt(Want::Write, || Ok(write(&theirs, &[0; 4096])?));
            while fill().is_ok() {}
            watch.tell_of_room(&theirs, true).unwrap();
            let emptied = spawn_local(async move {
                let mut bytes = vec![0; 1 << 20];
                nix::unistd::read(&ours, &mut bytes).unwrap();
                ours
            });
            poll_fn(|cx| watch.poll(Want::Write, cx)).await;
            assert_eq!(fill().unwrap(), 4096);
            drop(emptied.await.unwrap());
            poll_fn(|cx| watch.poll(Want::Broken, cx)).await;
        })
        .unwrap();
    }

    #[test]
    fn news_of_who_had_the_seat_before_are_nobodys() {
        executor::run(async {
            let reactor = CURRENT.with_borrow(Option::clone).unwrap();
            let (first, _theirs) = pipe();
            let (second, _others) = pipe();
            let old = Watch::over(first.as_fd(), Lane::First).unwrap();
            let name = old.name;
            drop((old, first));
            let new = Watch::over(second.as_fd(), Lane::First).unwrap();
            assert_eq!(new.name.seat(), name.seat());
            reactor.tell_of(EpollEvent::new(EpollFlags::EPOLLIN, name.0));
            let waits = poll_fn(|cx| Poll::Ready(new.poll(Want::Read, cx).is_pending()));
            assert!(waits.await);
            reactor.tell_of(EpollEvent::new(EpollFlags::EPOLLIN, new.name.0));
            readable(&new).await;
        })
        .unwrap();
    }

    #[test]
    fn whoever_waits_can_be_had_to_look_again() {
        executor::run(async {
            let over = Rc::new(Cell::new(false));
            let waits: Vec<_> = (0..3)
                .map(|_| {
                    let over = Rc::clone(&over);
                    spawn_local(async move {
                        let (ours, _theirs) = pipe();
                        let watch = Watch::over(ours.as_fd(), Lane::InTurn).unwrap();
                        poll_fn(|cx| {
                            if over.get() { Poll::Ready(()) } else { watch.poll(Want::Read, cx) }
                        })
                        .await;
                    })
                })
                .collect();
            yield_now().await;
            over.set(true);
            wake_readers();
            for task in waits {
                task.await.unwrap();
            }
        })
        .unwrap();
    }
}
