//! The rim around the table: events in, effects out.
//!
//! Everything that the table asks for is done here, in the one thread that there is, and what
//! comes of it goes back to the table as a further event.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use init_wire::{InitInfo, JobEvent};
use tokio::sync::{broadcast, oneshot};
use tracing::{info, warn};

use crate::clock::Moment;
use crate::door::{Following, Knock};
use crate::event::{Effect, Ending, Event, Refusal, Reply, Ticket};
use crate::id::{JobId, Pid};
use crate::limits::{MAX_BODY, MAX_CONNECTIONS, MAX_JOBS, MISSABLE_EVENTS};
use crate::listen::Keeper;
use crate::signal::Signal;
use crate::spawn::Spawner;
use crate::table::Table;
use crate::tree;

/// The table and what it acts with.
pub struct Reactor {
    table: Table,
    spawner: Spawner,
    keeper: Keeper,
    waiting: HashMap<Ticket, oneshot::Sender<Reply>>,
    followers: broadcast::Sender<Arc<str>>,
    started: Instant,
    end: Option<(Ending, u8)>,
}

impl Reactor {
    /// A reactor around an empty table.
    #[must_use]
    pub fn new(table: Table, spawner: Spawner) -> Self {
        Self {
            table,
            spawner,
            keeper: Keeper::default(),
            waiting: HashMap::new(),
            followers: broadcast::Sender::new(MISSABLE_EVENTS),
            started: Instant::now(),
            end: None,
        }
    }

    /// When something is to be done without anybody asking.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.table.next_deadline()
    }

    /// Whether everything has ended, and how.
    #[must_use]
    pub fn end(&self) -> Option<(Ending, u8)> {
        self.end
    }

    /// The process of the job `boot`.
    #[must_use]
    pub fn boot(&self) -> Option<Pid> {
        self.table.boot_pid()
    }

    /// Answers a question of the API.
    pub fn answer(&mut self, knock: Knock) {
        // An answer that nobody waits for any more is dropped.
        match knock {
            Knock::Ask(ticket, command, reply) => {
                self.waiting.insert(ticket, reply);
                self.handle(Event::Asked(ticket, command));
            }
            Knock::Abandon(ticket) => {
                if self.waiting.remove(&ticket).is_some() {
                    self.handle(Event::Abandoned(ticket));
                }
            }
            Knock::List(reply) => drop(reply.send(self.table.list())),
            Knock::Info(id, reply) => drop(reply.send(self.table.info(&id))),
            Knock::About(reply) => drop(reply.send(self.about())),
            Knock::Follow(reply) => drop(reply.send(Following {
                jobs: self.table.list(),
                seq: self.table.changes(),
                events: self.followers.subscribe(),
            })),
        }
    }

    /// Lets an event happen, and all that follows from it.
    pub fn handle(&mut self, event: Event) {
        let now = Moment::now();
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for effect in self.table.step(now, event) {
                self.perform(effect, &mut events);
            }
        }
    }

    fn perform(&mut self, effect: Effect, events: &mut VecDeque<Event>) {
        match effect {
            Effect::Spawn(id, spec) => {
                events.push_back(match self.spawner.spawn(&spec, &mut self.keeper) {
                    Ok(pid) => Event::Spawned(id, pid),
                    Err(fault) => {
                        warn!("job `{id}`: {fault}");
                        Event::SpawnFailed(id, fault)
                    }
                });
            }
            Effect::Signal(pid, signal, ticket) => self.signal(pid, signal, ticket),
            Effect::SignalTree(leader, signal) => tree::signal_all(leader, signal),
            Effect::Probe(id, leader) => {
                if tree::is_empty(leader) {
                    events.push_back(Event::TreeEmpty(id));
                }
            }
            Effect::Look(id, leader) => {
                if !tree::has_living(leader) {
                    events.push_back(Event::TreeEmpty(id));
                }
            }
            Effect::KillTree(id, leader) => {
                if tree::has_living(leader) {
                    tree::signal_all(leader, Signal::KILL);
                } else {
                    events.push_back(Event::TreeEmpty(id));
                }
            }
            Effect::Reply(ticket, reply) => self.reply(ticket, reply),
            Effect::Changed(id, seq) => self.tell_changed(&id, seq),
            Effect::Gone(id, seq) => self.tell(&JobEvent::Gone { seq, id: id.to_string() }),
            Effect::ReleaseListeners => {
                let table = &self.table;
                self.keeper.keep(|address| table.names_listener(address));
            }
            Effect::End(ending, code) => {
                info!("ending with code {code}");
                self.keeper.keep(|_| false);
                self.end = Some((ending, code));
            }
        }
    }

    fn signal(&mut self, pid: Pid, signal: Signal, ticket: Option<Ticket>) {
        let sent = tree::signal(pid, signal);
        let Some(ticket) = ticket else { return };
        self.reply(
            ticket,
            match sent {
                Ok(()) => Reply::Done,
                Err(errno) => Reply::Refused(Refusal::SignalFailed(errno)),
            },
        );
    }

    fn reply(&mut self, ticket: Ticket, reply: Reply) {
        if let Some(waiting) = self.waiting.remove(&ticket) {
            let _ = waiting.send(reply);
        }
    }

    fn tell_changed(&self, id: &JobId, seq: u64) {
        if self.followers.receiver_count() == 0 {
            return;
        }
        if let Some(job) = self.table.info(id) {
            self.tell(&JobEvent::Job { seq, job });
        }
    }

    fn tell(&self, event: &JobEvent) {
        if self.followers.receiver_count() > 0
            && let Ok(line) = serde_json::to_string(event)
        {
            let _ = self.followers.send(format!("{line}\n").into());
        }
    }

    fn about(&self) -> InitInfo {
        InitInfo {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            uptime_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            jobs: self.table.len(),
            max_jobs: MAX_JOBS,
            max_connections: MAX_CONNECTIONS,
            max_body: MAX_BODY,
        }
    }
}
