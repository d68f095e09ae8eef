//! The way from the API's connections to the reactor.
//!
//! Each connection has at most one question under way and the number of connections is bounded,
//! so the queue is too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use init_wire::InitInfo;
use tokio::sync::{mpsc, oneshot};

use crate::chronicle::{Life, Place, Reader, Since};
use crate::event::{Command, Refusal, Reply, Ticket};
use crate::id::JobId;
use crate::job::View;
use crate::tree::Roots;

/// A question for the reactor.
#[derive(Debug)]
pub enum Knock {
    /// A command, and where its answer goes.
    Ask(Ticket, Command, oneshot::Sender<Reply>),
    /// Where the answer to a question of an earlier process goes.
    Wait(Ticket, oneshot::Sender<Reply>),
    /// Nobody waits for that answer any more.
    Abandon(Ticket),
    /// All jobs.
    List(oneshot::Sender<Vec<View>>),
    /// One job.
    Info(JobId, oneshot::Sender<Option<Box<View>>>),
    /// By what the processes of all jobs can be told, or of this one.
    Roots(Option<JobId>, oneshot::Sender<Result<Vec<Roots>, Refusal>>),
    /// init itself.
    About(oneshot::Sender<InitInfo>),
    /// init is to become the one that is on disk; what is answered is why it has not.
    Renew(oneshot::Sender<String>),
    /// What has become of that, for who has asked it of an earlier process.
    Renewed(oneshot::Sender<Result<InitInfo, String>>),
    /// All jobs, or what has happened since that place, and whatever happens from now on.
    Follow(Option<Place>, oneshot::Sender<Following>),
}

/// A follower's start: no change lies between `jobs` and the first event of `events`.
#[derive(Debug)]
pub struct Following {
    /// What became of the place that the client named, if it named one.
    pub since: Option<Since>,
    /// The jobs; none if the client goes on from its place.
    pub jobs: Vec<View>,
    /// The number of the last change so far.
    pub seq: u64,
    /// This life of init.
    pub life: Life,
    /// A JSON line a change.
    pub events: Reader,
}

/// Asks the reactor. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Door {
    knocks: mpsc::UnboundedSender<Knock>,
    tickets: Arc<AtomicU64>,
}

/// There is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// The reactor is gone.
    #[error("init is ending")]
    Ending,
    /// The question has met a defect.
    #[error("a defect in init: what was asked for may be done or not; init's log says more")]
    Defect,
}

impl Door {
    /// A door, and where its knocks arrive.
    #[must_use]
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Knock>) {
        let (knocks, arrivals) = mpsc::unbounded_channel();
        (Self { knocks, tickets: Arc::default() }, arrivals)
    }

    /// A name for a question.
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        Ticket(self.tickets.fetch_add(1, Ordering::Relaxed))
    }

    /// From now on tickets are later than those that an earlier process has given.
    pub fn go_on_after(&self, ticket: u64) {
        self.tickets.fetch_max(ticket.saturating_add(1), Ordering::Relaxed);
    }

    /// Asks for `command` and waits for its answer, however long that takes. Dropping the wait
    /// withdraws the question, unless `is_kept` then, but not what it has set going.
    pub async fn ask(
        &self,
        ticket: Ticket,
        command: Command,
        is_kept: impl Fn() -> bool,
    ) -> Result<Reply, Closed> {
        let mut waiting = Waiting { door: self, ticket, answered: false, is_kept };
        let reply = self.knock(|sender| Knock::Ask(ticket, command, sender)).await;
        waiting.answered = true;
        reply
    }

    /// Waits for the answer to a question of an earlier process.
    pub async fn wait(&self, ticket: Ticket, is_kept: impl Fn() -> bool) -> Result<Reply, Closed> {
        let mut waiting = Waiting { door: self, ticket, answered: false, is_kept };
        let reply = self.knock(|sender| Knock::Wait(ticket, sender)).await;
        waiting.answered = true;
        reply
    }

    /// All jobs.
    pub async fn list(&self) -> Result<Vec<View>, Closed> {
        self.knock(Knock::List).await
    }

    /// One job.
    pub async fn info(&self, id: JobId) -> Result<Option<Box<View>>, Closed> {
        self.knock(|sender| Knock::Info(id, sender)).await
    }

    /// By what the processes of all jobs can be told, or of this one.
    pub async fn roots(&self, only: Option<JobId>) -> Result<Result<Vec<Roots>, Refusal>, Closed> {
        self.knock(|sender| Knock::Roots(only, sender)).await
    }

    /// init itself.
    pub async fn about(&self) -> Result<InitInfo, Closed> {
        self.knock(Knock::About).await
    }

    /// Wants init to become the one that is on disk. Answers why it has not.
    pub async fn renew(&self) -> Result<String, Closed> {
        self.knock(Knock::Renew).await
    }

    /// What has become of that, for who has asked it of an earlier process.
    pub async fn renewed(&self) -> Result<Result<InitInfo, String>, Closed> {
        self.knock(Knock::Renewed).await
    }

    /// The number of the last ticket.
    #[must_use]
    pub fn last_ticket(&self) -> u64 {
        self.tickets.load(Ordering::Relaxed)
    }

    /// All jobs, or what has happened since that place, and whatever happens from now on.
    pub async fn follow(&self, from: Option<Place>) -> Result<Following, Closed> {
        self.knock(|sender| Knock::Follow(from, sender)).await
    }

    async fn knock<T>(&self, knock: impl FnOnce(oneshot::Sender<T>) -> Knock) -> Result<T, Closed> {
        let (sender, answer) = oneshot::channel();
        self.knocks.send(knock(sender)).map_err(|_| Closed::Ending)?;
        let closed = || if self.knocks.is_closed() { Closed::Ending } else { Closed::Defect };
        answer.await.map_err(|_| closed())
    }
}

struct Waiting<'a, K: Fn() -> bool> {
    door: &'a Door,
    ticket: Ticket,
    answered: bool,
    is_kept: K,
}

impl<K: Fn() -> bool> Drop for Waiting<'_, K> {
    fn drop(&mut self) {
        if !self.answered && !(self.is_kept)() {
            // If the reactor is gone, so is what was to be withdrawn.
            let _ = self.door.knocks.send(Knock::Abandon(self.ticket));
        }
    }
}
