//! One worker: a thread with a runtime of its own, its share of the listeners' connections, and
//! all that they need without asking another thread.

use std::cell::{Cell, RefCell};
use std::io;
use std::ops::Deref;
use std::panic::resume_unwind;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use proxyd_wire as wire;
use tokio::select;
use tokio::sync::{Notify, watch};
use tokio::task::{spawn_local, yield_now};
use tokio::time::Instant;

use crate::access_log::{AccessLog, Line};
use crate::buffer::Spare;
use crate::clock::{Bell, sleep};
use crate::crowd::Crowd;
use crate::dates::Dates;
use crate::executor;
use crate::front::Front;
use crate::gauges::{Client, Handshakes};
use crate::h2::Trunks;
use crate::health::Sight;
use crate::host::Host;
use crate::limits;
use crate::listener::{self, Listener};
use crate::meter::Meter;
use crate::pool::Pool;
use crate::reactor;
use crate::registry::Registry;
use crate::request_id::Ids;
use crate::route::Route;
use crate::rules::Rules;
use crate::service::{Asker, Service, Unclaimed};
use crate::table::{Entry, NotFound, Table};
use crate::target::Target;
use crate::tls::{Scratch, Tls};

/// What the connections of one worker share.
#[derive(Debug)]
pub(crate) struct Worker {
    number: usize,
    registry: Arc<Registry>,
    table: RefCell<Rc<Picture>>,
    front: RefCell<Fronted>,
    pub(crate) pool: Pool,
    pub(crate) trunks: Trunks,
    pub(crate) spare: Spare,
    /// What TLS connections work in.
    pub(crate) scratch: Rc<Scratch>,
    pub(crate) log: AccessLog,
    pub(crate) dates: Dates,
    /// No new connections, and each answer is a connection's last.
    pub(crate) draining: Cell<bool>,
    /// Told when it begins to drain.
    drain: Notify,
    /// There were too many clients when this worker last wanted one more.
    crowded: Cell<bool>,
    connections: Cell<usize>,
    /// Streams, and answers that may turn out to be as long.
    streams: Cell<usize>,
    /// How long streams go on once `draining` begins.
    pub(crate) stream_grace: Duration,
    last_gone: Notify,
    /// The clients of all workers.
    pub(crate) crowd: Arc<Crowd>,
    pub(crate) ids: Ids,
    random: Cell<u64>,
}

impl Worker {
    pub(crate) fn new(
        number: usize,
        registry: Arc<Registry>,
        log: AccessLog,
        crowd: Arc<Crowd>,
        stream_grace: Duration,
    ) -> Worker {
        let table = registry.table();
        Worker {
            number,
            front: RefCell::new(Fronted::new(&table.front)),
            table: RefCell::new(Rc::new(Picture(table))),
            registry,
            pool: Pool::default(),
            trunks: Trunks::default(),
            spare: Spare::new(&crowd),
            dates: Dates::default(),
            scratch: Rc::default(),
            log,
            draining: Cell::new(false),
            drain: Notify::new(),
            crowded: Cell::new(false),
            connections: Cell::new(0),
            streams: Cell::new(0),
            stream_grace,
            last_gone: Notify::new(),
            crowd,
            ids: Ids::new(),
            random: Cell::new(0x9e37_79b9_7f4a_7c15 ^ ((number as u64 + 1) << 32)),
        }
    }

    /// Counts a client's connection for whoever watches.
    pub(crate) fn client(&self) -> Client {
        self.registry.gauges.client()
    }

    /// Where handshakes are counted.
    pub(crate) fn handshakes(&self) -> &Handshakes {
        &self.registry.gauges.handshakes
    }

    /// Counts a request that has ended, for its route if there was one.
    pub(crate) fn count(&self, meter: Option<&Arc<Meter>>, line: &Line<'_>) {
        let meter = meter.map_or(&self.registry.unrouted, Arc::as_ref);
        meter.count(self.number, line.status, line.bytes, line.took);
    }

    /// How handshakes are made, as of now.
    pub(crate) fn tls(&self) -> Arc<Tls> {
        let mut table = self.table.borrow_mut();
        if table.0.version != self.registry.version() {
            *table = self.picture(self.registry.table());
        }
        Arc::clone(&table.0.tls)
    }

    /// What an authority is answered that asks a host for a proof, as of now.
    pub(crate) fn proof(&self, host: &Host<'_>, target: &[u8]) -> Option<String> {
        self.tls();
        self.table.borrow().0.proofs.answer(host.as_bytes(), target)
    }

    /// Waits for a change that is under way: it can be seen as a whole then.
    pub(crate) fn settle(&self) {
        self.registry.settle();
    }

    /// What is to become of a request, as of now.
    pub(crate) fn find(&self, host: &Host<'_>, path: &[u8]) -> Result<Found, NotFound> {
        let mut table = self.table.borrow_mut();
        if table.0.version != self.registry.version() {
            *table = self.picture(self.registry.table());
        }
        let at = table.0.find(host.as_bytes(), path)?;
        Ok(Found { table: Rc::clone(&table), at })
    }

    /// The settings of the whole process, as this worker knows them.
    pub(crate) fn front(&self) -> Fronted {
        self.front.borrow().clone()
    }

    /// How long a client may send nothing, as of now.
    pub(crate) fn idle_time(&self) -> Duration {
        let time = self.front.borrow().idle_time;
        if self.crowd.is_full() { time.min(limits::CROWDED_IDLE_TIME) } else { time }
    }

    /// Claims a target of a service; see [`Service::claim`].
    pub(crate) fn claim(
        self: &Rc<Self>,
        service: &Service,
        asker: &Asker<'_>,
        cookies: &mut Vec<u8>,
    ) -> Result<Claim, Unclaimed> {
        let held = service.claim(asker, self.random(), cookies)?;
        Ok(Claim {
            target: held.target,
            sight: held.sight,
            told: Cell::new(false),
            worker: Rc::clone(self),
        })
    }

    /// Xorshift: which of two targets to look at need not be a secret.
    pub(crate) fn random(&self) -> u64 {
        let mut x = self.random.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.random.set(x);
        x
    }

    /// Counts a connection in, unless there are too many.
    pub(crate) fn admit(self: &Rc<Self>) -> Option<Admission> {
        let entered = self.crowd.enter(self.front.borrow().connections);
        let crowded = self.crowd.is_full();
        if crowded && !self.crowded.replace(crowded) {
            reactor::wake_readers();
        }
        self.crowded.set(crowded);
        if !entered {
            return None;
        }
        self.connections.set(self.connections.get() + 1);
        Some(Admission { worker: Rc::clone(self) })
    }

    /// Closes what can be spared of descriptors, idle connections to targets and idle pipes; whether there
    /// was any.
    pub(crate) fn make_room(&self) -> bool {
        let pipes = self.spare.pipes.clear();
        let lines = !self.pool.is_empty();
        self.pool.clear();
        pipes || lines
    }

    /// Whether there is no target that a request could go to, and no file to answer it with.
    pub(crate) fn has_no_target(&self) -> bool {
        let table = self.registry.table();
        table.live.is_empty() && !table.serves_files()
    }

    /// Returns once it drains.
    pub(crate) async fn drained(&self) {
        loop {
            let mut told = pin!(self.drain.notified());
            told.as_mut().enable();
            if self.draining.get() {
                return;
            }
            told.await;
        }
    }

    /// Has whoever waits for targets to be drained look again.
    pub(crate) fn tell_drained(&self) {
        self.registry.drained();
    }

    pub(crate) fn begin_stream(&self) {
        self.streams.set(self.streams.get() + 1);
    }

    pub(crate) fn end_stream(&self) {
        let left = self.streams.get().saturating_sub(1);
        self.streams.set(left);
        if left == 0 && self.draining.get() {
            self.last_gone.notify_one();
        }
    }

    fn picture(&self, table: Arc<Table>) -> Rc<Picture> {
        if !Arc::ptr_eq(&self.front.borrow().0.0, &table.front) {
            *self.front.borrow_mut() = Fronted::new(&table.front);
        }
        Rc::new(Picture(table))
    }

    /// Takes a new picture and closes what it no longer needs.
    fn refresh(&self) {
        let table = self.registry.table();
        self.pool.keep(|number| table.live.contains(&number));
        self.trunks.keep(|number| table.live.contains(&number));
        let version = table.version;
        *self.table.borrow_mut() = self.picture(table);
        self.registry.saw(self.number, version);
    }
}

/// A worker's hold of the table: what a request keeps of it is counted here, and not in a word that
/// other workers write to.
#[derive(Debug)]
struct Picture(Arc<Table>);

/// The settings of the whole process, of one version, counted here as a picture is. It holds nothing
/// else: a tunnel has it for days.
#[derive(Clone, Debug)]
pub(crate) struct Fronted(Rc<Held>);

#[derive(Debug)]
struct Held(Arc<Front>);

impl Fronted {
    fn new(front: &Arc<Front>) -> Fronted {
        Fronted(Rc::new(Held(Arc::clone(front))))
    }
}

impl Deref for Fronted {
    type Target = Front;

    fn deref(&self) -> &Front {
        &self.0.0
    }
}

/// An entry of the table that was the present one when a request came.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    table: Rc<Picture>,
    at: usize,
}

impl Found {
    /// It is there: the table never changes.
    fn entry(&self) -> Option<&Entry> {
        self.table.0.entry(self.at)
    }

    /// Where a request to it may cost something else than the front says.
    pub(crate) fn limits(&self) -> Option<&wire::Limits> {
        self.route()?.wire.limits.as_ref()
    }

    fn route(&self) -> Option<&Route> {
        Some(&self.entry()?.route)
    }

    /// What the route says beyond its service and its bounds.
    pub(crate) fn rules(&self) -> Option<&Rules> {
        self.route()?.rules.as_deref()
    }

    /// How many steps of a path are the route's own.
    pub(crate) fn steps(&self) -> usize {
        self.route().map_or(0, |route| route.key.steps())
    }

    /// Where its requests are counted.
    pub(crate) fn meter(&self) -> Option<&Arc<Meter>> {
        Some(&self.route()?.meter)
    }

    pub(crate) fn service(&self) -> Option<&Arc<Service>> {
        self.entry()?.service.as_ref()
    }
}

/// A target in use; dropping it lets go.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) target: Arc<Target>,
    sight: Sight,
    /// Whether the target has been told what came of the request.
    told: Cell<bool>,
    pub(crate) worker: Rc<Worker>,
}

impl Claim {
    /// Whether the target was ejected, so that the head of an answer is news.
    pub(crate) fn is_exceptional(&self) -> bool {
        matches!(self.sight, Sight::Ejected | Sight::Trial)
    }

    /// The answer has begun: an ejected target is back, however long the rest takes.
    pub(crate) fn begun(&self) {
        if self.is_exceptional() {
            self.told.set(true);
            self.target.answered(self.sight);
        }
    }

    /// The answer was whole, which ends a row of failures.
    pub(crate) fn answered(&self) {
        if self.sight == Sight::Suspect && !self.told.get() {
            self.target.answered(self.sight);
        }
    }

    pub(crate) fn failed(&self, rule: &wire::Eject) {
        self.told.set(true);
        self.target.failed(self.sight, rule);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.sight == Sight::Trial && !self.told.get() {
            self.target.untold();
        }
        if self.target.release() {
            self.worker.registry.drained();
        }
    }
}

/// A counted connection; dropping it counts it out.
#[derive(Debug)]
pub(crate) struct Admission {
    worker: Rc<Worker>,
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.worker.crowd.leave();
        let left = self.worker.connections.get().saturating_sub(1);
        self.worker.connections.set(left);
        if left == 0 {
            self.worker.last_gone.notify_one();
        }
    }
}

/// How far a proxy is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Serving,
    /// What has begun may end.
    Draining,
    /// Only streams are waited for.
    StreamsOnly,
}

/// Serves until it drains and the last connection is gone. `accepts` is told once it does.
pub(crate) fn run(
    worker: Worker,
    listeners: Vec<Listener>,
    phase: watch::Receiver<Phase>,
    accepts: impl FnOnce() + 'static,
) -> io::Result<()> {
    executor::run(async {
        spawn_local(Bell::hang()?.ring());
        // A task of its own: what is run here is asked whenever anything has come.
        match spawn_local(serve(Rc::new(worker), listeners, phase, accepts)).await {
            Err(ended) if ended.is_panic() => resume_unwind(ended.into_panic()),
            ended => Ok(ended?),
        }
    })?
}

async fn serve(
    worker: Rc<Worker>,
    listeners: Vec<Listener>,
    mut phase: watch::Receiver<Phase>,
    accepts: impl FnOnce(),
) {
    let mut changes = worker.registry.subscribe();
    spawn_local({
        let worker = Rc::clone(&worker);
        async move {
            worker.refresh();
            while changes.changed().await.is_ok() {
                changes.mark_unchanged();
                worker.refresh();
            }
        }
    });
    spawn_local(write_log(Rc::clone(&worker)));
    spawn_local(close_idle(Rc::clone(&worker)));
    // The sender lives as long as the process; its end is a stop, too.
    let phases = phase.clone();
    let mut stopped = pin!(phase.wait_for(|phase| *phase != Phase::Serving));
    let mut accepting = Vec::new();
    let opened = select! {
        () = worker.registry.door.opened() => true,
        _ = &mut stopped => false,
    };
    if opened {
        for listener in listeners {
            accepting.push(spawn_local(listener::accept(listener, Rc::clone(&worker))));
        }
    }
    worker.registry.door.pass();
    if opened {
        // The tasks above have had their first turn then.
        yield_now().await;
        accepts();
        let _ = stopped.await;
    }
    for task in &accepting {
        task.abort();
    }
    for task in accepting {
        let _ = task.await;
    }
    worker.draining.set(true);
    worker.drain.notify_waiters();
    reactor::wake_readers();
    let only_streams = || *phases.borrow() == Phase::StreamsOnly;
    while worker.connections.get() > 0 && (worker.streams.get() > 0 || !only_streams()) {
        let graces_over = async {
            let _ = phases.clone().wait_for(|phase| *phase == Phase::StreamsOnly).await;
        };
        select! {
            () = worker.last_gone.notified() => {}
            () = graces_over, if !only_streams() => {}
        }
    }
    worker.pool.clear();
    worker.trunks.keep(|_| false);
    worker.registry.saw(worker.number, u64::MAX);
    worker.log.flush();
}

/// Hands over log lines that would wait too long for their batch to be full.
async fn write_log(worker: Rc<Worker>) {
    loop {
        worker.log.begun().await;
        sleep(limits::LOG_DELAY).await;
        worker.log.flush();
    }
}

/// Closes connections to targets that were idle too long; sleeps while there are none.
async fn close_idle(worker: Rc<Worker>) {
    loop {
        worker.pool.filled().await;
        while !worker.pool.is_empty() {
            sleep(limits::POOL_LOOK).await;
            worker.pool.expire(Instant::now());
        }
    }
}
