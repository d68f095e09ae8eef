//! Any bytes on a connection of the API, with a table behind it whose programs never start: what
//! comes back is HTTP with JSON in it, the connection ends, and the table holds together.

#![no_main]

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use init::adoption::NotAdoptable;
use init::api::{Api, Peer, Seat, converse};
use init::chronicle::Life;
use init::clock::Moment;
use init::door::{Door, Knock};
use init::event::{Effect, Event, Fault, Reply, Stage};
use init::shutdown::BootExit;
use init::table::{Rules, Table};
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::runtime::{Builder, Runtime};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime")
});

fuzz_target!(|bytes: &[u8]| {
    let answer = RUNTIME.block_on(async {
        let (door, mut knocks) = Door::new();
        let reactor = tokio::spawn(async move {
            let mut world = World::new();
            while let Some(knock) = knocks.recv().await {
                world.answer(knock);
            }
        });
        let peer = Peer { user: 0, access: Arc::default() };
        let (outputs, inputs, handover) = Default::default();
        let api = Api { door, own: (0, 0), outputs, inputs, handover, life: Life::new() };
        let (mut client, server) = duplex(1 << 20);
        let served = tokio::spawn(converse(server, Default::default(), api, peer, Seat::Free));
        let (mut reader, mut writer) = tokio::io::split(&mut client);
        let write = async {
            let _ = writer.write_all(bytes).await;
            let _ = writer.shutdown().await;
        };
        let mut answer = Vec::new();
        let read = async {
            // A stream of events has no end of its own; time is not real here.
            let _ = tokio::time::timeout(Duration::from_secs(60), reader.read_to_end(&mut answer))
                .await;
        };
        tokio::join!(write, read);
        drop(client);
        served.abort();
        if let Err(error) = served.await {
            assert!(!error.is_panic(), "a request has made the server panic");
        }
        reactor.abort();
        if let Err(error) = reactor.await {
            assert!(!error.is_panic(), "a request has made the table panic");
        }
        answer
    });
    if answer.is_empty() {
        return;
    }
    let text = String::from_utf8_lossy(&answer);
    assert!(text.starts_with("HTTP/1."), "{text}");
    let (head, body) = text.split_once("\r\n\r\n").expect("a whole head");
    let status: u16 = head[9..12].parse().expect("a status");
    let is_single = !body.contains("HTTP/1.");
    if is_single && status >= 400 && head.contains("application/json") && !body.is_empty() {
        let error: init_wire::ErrorBody = serde_json::from_str(body).expect("an error in JSON");
        assert!(!error.error.is_empty() && !error.message.is_empty());
    }
});

/// A table and a world in which no program exists.
struct World {
    table: Table,
    waiting: HashMap<u64, tokio::sync::oneshot::Sender<Reply>>,
}

impl World {
    fn new() -> Self {
        let (max_jobs, max_specs, grace) = (4, 1 << 20, Duration::from_secs(1));
        let rules = Rules { max_jobs, max_specs, boot_exit: BootExit::Stay, grace, seed: 1 };
        Self { table: Table::new(rules), waiting: HashMap::new() }
    }

    fn answer(&mut self, knock: Knock) {
        match knock {
            Knock::Ask(ticket, command, reply) => {
                self.waiting.insert(ticket.0, reply);
                self.feed(Event::Asked(ticket, command));
            }
            Knock::Abandon(ticket) => self.feed(Event::Abandoned(ticket)),
            Knock::List(reply) => drop(reply.send(self.table.list())),
            Knock::Info(id, reply) => drop(reply.send(self.table.info(&id))),
            Knock::Roots(only, reply) => {
                // Nothing ever runs.
                let none = self.table.peopled(only.as_ref()).map(|_| Vec::new());
                drop(reply.send(none));
            }
            // Their senders are dropped, as at init's end.
            Knock::About(_) | Knock::Follow(..) | Knock::Wait(..) => {}
            Knock::Renew(_) | Knock::Renewed(_) => {}
        }
    }

    fn feed(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for effect in self.table.step(Moment::now(), event) {
                match effect {
                    Effect::Spawn(id, _) => {
                        let errno = nix::errno::Errno::ENOENT;
                        let fault = Fault { exec: "x".into(), stage: Stage::Exec, errno, snag: None };
                        events.push_back(Event::SpawnFailed(id, fault));
                    }
                    Effect::Adopt(id, _) => {
                        let why = NotAdoptable::NoSuchProcess(2);
                        events.push_back(Event::NotAdopted(id, why));
                    }
                    Effect::Reply(ticket, reply) => {
                        if let Some(waiting) = self.waiting.remove(&ticket.0) {
                            let _ = waiting.send(reply);
                        }
                    }
                    _ => {}
                }
            }
        }
    }
}
