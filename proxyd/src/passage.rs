//! A large body's way from one socket to the other through a pipe: moved, not copied.
//!
//! Only where the kernel has both sockets, the length is known and nobody has to look at the bytes. Whoever gets no
//! pipe copies.

use std::future::{Future, poll_fn};
use std::io;
use std::task::{Context, Poll};

use crate::buffer::Spare;
use crate::flow::{Stop, Wait};
use crate::h1::body::Body;
use crate::limits;
use crate::pipe::Pipe;
use crate::socket::Socket;

/// Where bytes could go without being copied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passage<'a> {
    from: &'a Socket,
    to: &'a Socket,
    spare: &'a Spare,
}

/// One body on its way. It has its pipe to the end: what is held for a slow reader is in it.
#[derive(Debug)]
pub(crate) struct Crossing<'a> {
    passage: Passage<'a>,
    /// There, until it is given back.
    pipe: Option<Pipe>,
}

impl<'a> Passage<'a> {
    pub(crate) fn between(
        from: &'a Socket,
        to: &'a Socket,
        spare: &'a Spare,
    ) -> Option<Passage<'a>> {
        // What comes over a unix socket lies in small pieces: to move them is twice as dear as to copy them.
        (from.has_pages() && to.splices()).then_some(Passage { from, to, spare })
    }

    /// For a body of which there is enough left, while there is a pipe for it.
    pub(crate) fn begin(self, body: &Body) -> Option<Crossing<'a>> {
        let pipe = (body.left() >= limits::PASSED).then(|| self.spare.pipes.take())??;
        Some(Crossing { passage: self, pipe: Some(pipe) })
    }
}

impl Crossing<'_> {
    /// Takes the next piece, of at most so many bytes; 0 is the end of the connection.
    pub(crate) fn take(&mut self, most: u64, wait: Wait<'_>) -> impl Future<Output = Moved> {
        let from = self.passage.from;
        self.moving(wait, move |cx, pipe| from.poll_fill(cx, pipe, most))
    }

    /// Gives it to whoever it is for, as a whole.
    pub(crate) async fn give(&mut self, wait: Wait<'_>) -> Result<(), Stop> {
        let to = self.passage.to;
        while self.pipe.as_ref().is_some_and(|pipe| !pipe.is_empty()) {
            let part = Wait { timer: &mut *wait.timer, time: wait.time, pace: &mut *wait.pace };
            if self.moving(part, |cx, pipe| to.poll_empty(cx, pipe)).await? == 0 {
                return Err(Stop::Failed);
            }
        }
        Ok(())
    }

    async fn moving(
        &mut self,
        mut wait: Wait<'_>,
        mut poll: impl FnMut(&mut Context<'_>, &mut Pipe) -> Poll<io::Result<usize>>,
    ) -> Moved {
        let mut held = None;
        let Some(pipe) = &mut self.pipe else { return Err(Stop::Failed) };
        poll_fn(|cx| match poll(cx, pipe) {
            Poll::Ready(Ok(count)) => Poll::Ready(wait.over(held.take(), count).map(|()| count)),
            Poll::Ready(Err(_)) => Poll::Ready(Err(Stop::Failed)),
            Poll::Pending => wait.poll(&mut held, cx).map(|()| Err(Stop::TimedOut)),
        })
        .await
    }
}

/// How many bytes have moved.
type Moved = Result<usize, Stop>;

impl Drop for Crossing<'_> {
    fn drop(&mut self) {
        if let Some(pipe) = self.pipe.take() {
            self.passage.spare.pipes.put(pipe);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::clock::tests::with_clock;
    use crate::crowd::Crowd;
    use crate::pace::Pace;
    use crate::timer::Timer;
    use crate::wire::Wire;

    const SIZE: usize = 3_000_000;
    const TIME: Duration = Duration::from_secs(10);

    /// A client's TCP socket and a target's of the other kind, with their other ends.
    async fn with_two(test: impl AsyncFnOnce([Socket; 2], TcpStream, UnixStream)) {
        let door = TcpListener::bind("127.0.0.1:0").unwrap();
        let feeding = TcpStream::connect(door.local_addr().unwrap()).unwrap();
        let from = door.accept().unwrap().0;
        from.set_nonblocking(true).unwrap();
        let from = Wire::client(from);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let sink = UnixListener::bind(&path).unwrap();
        let to = Wire::connect_unix(&path).unwrap();
        test([from, to].map(Socket::Wire), feeding, sink.accept().unwrap().0).await;
    }

    fn run(test: impl AsyncFnOnce([Socket; 2], TcpStream, UnixStream)) {
        with_clock(with_two(test));
    }

    #[test]
    fn all_of_it_goes_through_and_nothing_behind_it() {
        run(async |[from, to], mut source, mut sink| {
            let bytes: Vec<u8> = (0..SIZE).map(|at| (at * 7 / 3).to_le_bytes()[0]).collect();
            let crowd = Arc::new(Crowd::new(1));
            let (sent, spare) = (bytes.clone(), Spare::new(&crowd));
            let writer = thread::spawn(move || source.write_all(&sent).map(|()| source));
            let reader = thread::spawn(move || {
                let mut heard = vec![0; SIZE - 100];
                sink.read_exact(&mut heard).map(|()| heard)
            });
            let mut body = Body::Left(SIZE as u64 - 100);
            let passage = Passage::between(&from, &to, &spare).unwrap();
            let mut crossing = passage.begin(&body).unwrap();
            let mut timer = Timer::new(Instant::now() + TIME);
            while !body.is_done() {
                let pace = &mut Pace::any();
                let wait = Wait { timer: &mut timer, time: TIME, pace };
                let count = crossing.take(body.left(), wait).await.unwrap();
                let wait = Wait { timer: &mut timer, time: TIME, pace };
                crossing.give(wait).await.unwrap();
                body.passed(count);
            }
            drop(crossing);
            assert!(spare.pipes.clear(), "the pipe waits for the next one");
            assert!(reader.join().unwrap().unwrap() == bytes[..SIZE - 100]);
            let mut rest = [0; 200];
            assert_eq!(from.try_read(|| &mut rest).unwrap(), 100);
            assert_eq!(rest[..100], bytes[SIZE - 100..]);
            drop(writer.join().unwrap().unwrap());
        });
    }

    #[test]
    fn who_takes_nothing_is_not_waited_for_longer_than_he_may_be() {
        run(async |[from, to], mut source, sink| {
            let crowd = Arc::new(Crowd::new(1));
            let spare = Spare::new(&crowd);
            let writer = thread::spawn(move || while source.write_all(&vec![0; 65536]).is_ok() {});
            let body = Body::Left(u64::MAX);
            let mut crossing = Passage::between(&from, &to, &spare).unwrap().begin(&body).unwrap();
            let mut timer = Timer::new(Instant::now() + TIME);
            let stop = loop {
                let pace = &mut Pace::any();
                let wait = Wait { timer: &mut timer, time: TIME, pace };
                crossing.take(body.left(), wait).await.unwrap();
                let wait = Wait { timer: &mut timer, time: Duration::from_millis(20), pace };
                if let Err(stop) = crossing.give(wait).await {
                    break stop;
                }
            };
            assert!(matches!(stop, Stop::TimedOut));
            drop(crossing);
            assert!(!spare.pipes.clear(), "a pipe that holds something is no other's");
            drop((from, to, sink));
            writer.join().unwrap();
        });
    }

    #[test]
    fn only_much_of_known_length_is_worth_a_pipe_and_there_are_not_many() {
        run(async |[from, to], _source, _sink| {
            let crowd = Arc::new(Crowd::new(1));
            let spare = Spare::new(&crowd);
            let passage = Passage::between(&from, &to, &spare).unwrap();
            for body in [Body::Done, Body::Left(limits::PASSED - 1), Body::UntilClose] {
                assert!(passage.begin(&body).is_none(), "{body:?}");
            }
            let body = Body::Left(limits::PASSED);
            let all: Vec<_> = (0..limits::PIPES).map_while(|_| passage.begin(&body)).collect();
            assert_eq!(all.len(), limits::PIPES);
            assert!(passage.begin(&body).is_none());
            drop(all);
            assert!(passage.begin(&body).is_some());
            assert!(Passage::between(&to, &from, &spare).is_none(), "small pieces are copied");
            let target = TcpListener::bind("127.0.0.1:0").unwrap();
            let target = Wire::connect(target.local_addr().unwrap()).await.unwrap();
            assert!(Passage::between(&Socket::Wire(target), &from, &spare).is_some());
            let nowhere = Spare::default();
            let passage = Passage::between(&from, &to, &nowhere).unwrap();
            assert!(passage.begin(&body).is_none(), "descriptors that nobody counts");
        });
    }
}
