//! The reactor's part in becoming another init: whether the program that is on disk can go on with what
//! there is, and writing that down.

use std::ffi::CString;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use init_wire::InitInfo;
use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::Reactor;
use crate::chronicle::{self, Chronicle};
use crate::descriptor::raised;
use crate::event::{Reply, Ticket, Unsent};
use crate::id::JobId;
use crate::id::Pid;
use crate::inherit::Inherited;
use crate::job::View;
use crate::listen::Keeper;
use crate::output::Outputs;
use crate::renew::{self, CHECKED, Likeness, PROOF, State, Told, Unreadable};
use crate::signal::{Exit, Signal};
use crate::spec::Confinement;
use crate::store::Store;
use crate::sys::child::{self, Image};
use crate::table::{Rules, Table};
use crate::tree::Trees;
use crate::{input, process};

/// How long the new program may take to read the state.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long conversations may take to come to a point where they can be handed over.
pub const FINISHING: Duration = Duration::from_millis(500);

/// A renewal that is going on.
#[derive(Debug)]
pub struct Renewal {
    reply: Option<oneshot::Sender<String>>,
    /// The program, once it is known, and what its file is.
    pub program: Option<(CString, Likeness)>,
    /// How far it is.
    pub stage: Stage,
}

/// How far a renewal is.
#[derive(Debug)]
pub enum Stage {
    /// A start is on its way, which no state tells.
    Waiting {
        /// When no other may follow it. It is given up as long after that again.
        by: Instant,
    },
    /// A child reads the state.
    Checking {
        /// The child.
        child: Pid,
        /// Where it says that it could.
        proof: OwnedFd,
        /// When it is given up.
        by: Instant,
    },
    /// It could; now conversations finish what they are at.
    Finishing {
        /// When init stands still for those that are left.
        by: Instant,
    },
}

/// What init is started with that no state tells.
#[derive(Debug)]
pub struct Facts {
    /// The descriptor of the API's listener.
    pub listener: i32,
    /// Where init was started.
    pub cwd: PathBuf,
    /// What it was started as.
    pub program: PathBuf,
    /// Its process.
    pub pid: u32,
}

impl Facts {
    /// The program as the kernel takes it.
    pub fn program(&self) -> std::io::Result<CString> {
        Ok(CString::new(self.program.as_os_str().as_bytes())?)
    }
}

impl Reactor {
    /// Somebody wants init to become the program on disk.
    pub(super) fn renew(&mut self, reply: oneshot::Sender<String>) {
        if self.renewal.is_some() {
            let _ = reply.send("init is being restarted already".into());
            return;
        }
        if self.table.is_ending() {
            let _ = reply.send("init is ending".into());
            return;
        }
        let stage = Stage::Waiting { by: Instant::now() + FINISHING };
        let renewal = Renewal { reply: Some(reply), program: None, stage };
        self.renewal = Some(renewal);
        self.look_at_renewal();
    }

    /// What init is started with.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// How many jobs there are.
    #[must_use]
    pub fn count_jobs(&self) -> usize {
        self.table.len()
    }

    /// The number of the last change.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.table.changes()
    }

    fn begin_check(&mut self) -> Result<((CString, Likeness), Stage), String> {
        let program = CString::new(self.facts.program.as_os_str().as_bytes());
        let program = program.map_err(|_| "init does not know its own program")?;
        let cannot_run = |why: &str| format!("{} cannot be run: {why}", program.to_string_lossy());
        // Before it is run: whatever takes its place from now on is another one.
        let likeness = Likeness::of(&program).map_err(|error| cannot_run(&error.to_string()))?;
        let state = self.save(vec![renew::Handed::sample()], 0, Some(true));
        // Without the bytes that jobs have written: it is not they that could be unreadable.
        let file = state.write(&Outputs::default()).map_err(|error| {
            format!("the state of all jobs cannot be written down now: {error}; try again")
        })?;
        let failed = |what: &str| format!("the new program cannot be tried: {what}");
        let (proof, mouth) =
            pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).map_err(|errno| failed(errno.desc()))?;
        let [file, mouth] = [raised(file), raised(mouth)];
        let (file, mouth) =
            (file.map_err(|e| failed(e.desc()))?, mouth.map_err(|e| failed(e.desc()))?);
        let null = std::fs::File::open("/dev/null").map_err(|e| failed(&e.to_string()))?;
        let null = raised(null.into()).map_err(|errno| failed(errno.desc()))?;
        let image = Image {
            candidates: vec![program.clone()],
            argv: renew::args(),
            envp: renew::envs(CHECKED, 3),
            listen_pid: false,
            cwd: CString::new(self.facts.cwd.as_os_str().as_bytes()).ok(),
            identity: None,
            fds: vec![(null.as_raw_fd(), 0), (mouth.as_raw_fd(), 1), (file.as_raw_fd(), 3)],
            terminal: None,
            owns_terminal: false,
            foreground: false,
            group: None,
            confinement: Confinement::default(),
        };
        let stack = self.spawner.births.stack().ok_or_else(|| failed("too many slow starts"))?;
        let mut child = child::begin(stack, image).map_err(|(_, errno, stack)| {
            self.spawner.births.give_back(stack);
            failed(errno.desc())
        })?;
        child.see_through();
        let (born, stack) = child.born();
        self.spawner.births.give_back(stack);
        let child = born.map_err(|(_, errno)| cannot_run(errno.desc()))?;
        Ok(((program, likeness), Stage::Checking { child, proof, by: Instant::now() + PATIENCE }))
    }

    /// Whether this child only tries a new program.
    #[must_use]
    pub fn is_check(&self, pid: Pid) -> bool {
        matches!(
            &self.renewal,
            Some(Renewal { stage: Stage::Checking { child, .. }, .. }) if *child == pid
        )
    }

    /// The child that has tried the new program has ended.
    pub fn check_ended(&mut self, exit: Exit) {
        let Some(renewal) = &mut self.renewal else { return };
        let Stage::Checking { proof, .. } = &renewal.stage else { return };
        let mut said = String::new();
        if let Ok(same) = proof.try_clone() {
            // What was not UTF-8, or not there, is no proof.
            let _ = std::fs::File::from(same).read_to_string(&mut said);
        }
        if exit == Exit::Code(0) && said == PROOF {
            renewal.stage = Stage::Finishing { by: Instant::now() + FINISHING };
            return;
        }
        let program = self.facts.program.display();
        self.give_up_renewal(format!(
            "{program} cannot go on with what there is: trying it ended with {exit}; what it says of \
             that is in init's log"
        ));
    }

    /// Begins the check as soon as that can be, and gives up what takes too long.
    pub fn look_at_renewal(&mut self) {
        self.see_births();
        let is_starting = self.is_starting();
        let Some(renewal) = &mut self.renewal else { return };
        match &renewal.stage {
            Stage::Waiting { by } if is_starting => {
                if *by + FINISHING <= Instant::now() {
                    self.give_up_renewal(self.slow_start());
                }
            }
            Stage::Waiting { .. } => match self.begin_check() {
                Ok((program, stage)) => {
                    if let Some(renewal) = &mut self.renewal {
                        (renewal.program, renewal.stage) = (Some(program), stage);
                    }
                }
                Err(why) => self.give_up_renewal(why),
            },
            Stage::Checking { child, by, .. } if *by <= Instant::now() => {
                // Who has ended meanwhile is about to be reaped.
                let _ = process::signal_child(*child, Signal::KILL);
                self.give_up_renewal("the new program took too long to read the state".into());
            }
            Stage::Checking { .. } | Stage::Finishing { .. } => {}
        }
    }

    /// init stays what it is.
    pub fn give_up_renewal(&mut self, why: String) {
        warn!("init stays as it is: {why}");
        let reply = self.renewal.take().and_then(|renewal| renewal.reply);
        if let Some(reply) = reply {
            // Whoever is handed over asks again.
            let _ = reply.send(why.clone());
        }
        self.failed_renewal = Some(why);
    }

    /// What is answered to who has asked for the renewal and has been handed over meanwhile.
    pub(super) fn renewed(&mut self) -> Result<InitInfo, String> {
        self.failed_renewal.clone().map_or_else(|| Ok(self.about()), Err)
    }

    /// The answers that nobody was there to hear.
    fn told(&self) -> Vec<Told> {
        let job = |ticket, is_new, view: &View| {
            // What init shows of a job has no part that JSON cannot hold.
            let text = serde_json::to_string(view).unwrap_or_default();
            Told::Job(ticket, is_new, view.id.clone(), text)
        };
        let told = |(&ticket, reply): (&Ticket, &Option<Reply>)| {
            Some(match reply.as_ref()? {
                Reply::Created(view) => job(ticket, true, view),
                Reply::Job(view) => job(ticket, false, view),
                Reply::Again { is_new, id, text } => {
                    Told::Job(ticket, *is_new, id.clone(), text.clone())
                }
                Reply::Done => Told::Done(ticket),
                Reply::Ending => Told::Ending(ticket),
                Reply::Refused(why) => Told::Refused(ticket, why.clone()),
            })
        };
        self.unclaimed.iter().filter_map(told).collect()
    }

    /// Keeps them for those who will ask again.
    fn tell_again(&mut self, told: Vec<Told>) {
        self.unclaimed.extend(told.into_iter().map(|told| match told {
            Told::Job(ticket, is_new, id, text) => {
                (ticket, Some(Reply::Again { is_new, id, text }))
            }
            Told::Done(ticket) => (ticket, Some(Reply::Done)),
            Told::Ending(ticket) => (ticket, Some(Reply::Ending)),
            Told::Refused(ticket, why) => (ticket, Some(Reply::Refused(why))),
        }));
    }

    /// Signals that are yet to be sent.
    fn unsent(&self) -> Vec<Unsent> {
        self.undone.iter().flatten().filter_map(Unsent::of).collect()
    }

    /// Whether conversations are being handed over.
    pub(super) fn is_finishing(&self) -> bool {
        matches!(&self.renewal, Some(Renewal { stage: Stage::Finishing { .. }, .. }))
    }

    /// Whether a start is on its way.
    #[must_use]
    pub fn is_starting(&self) -> bool {
        self.starting().is_some()
    }

    fn starting(&self) -> Option<&JobId> {
        self.spawner.births.all().next().or_else(|| self.table.spawning())
    }

    /// Why there is no renewal while a job's program is being loaded, which no state tells.
    #[must_use]
    pub fn slow_start(&self) -> String {
        let job = self.starting().map_or_else(String::new, |job| format!(" `{job}`"));
        format!("job{job} is being started, which takes long; try again when it has begun to run")
    }

    /// What init knows and will be as true in a while: not what has happened or was written lately.
    #[must_use]
    pub fn save_lasting(&self, tickets: u64, terminal: Option<bool>) -> State {
        let chronicle = Chronicle::default().save();
        self.save_with((chronicle, false), Vec::new(), tickets, terminal)
    }

    /// All that init knows.
    #[must_use]
    pub fn save(
        &self,
        conversations: Vec<renew::Handed>,
        tickets: u64,
        terminal: Option<bool>,
    ) -> State {
        self.save_with((self.chronicle.save(), true), conversations, tickets, terminal)
    }

    fn save_with(
        &self,
        (chronicle, with_bytes): (chronicle::Saved, bool),
        conversations: Vec<renew::Handed>,
        tickets: u64,
        terminal: Option<bool>,
    ) -> State {
        let (oom, nofile) = self.spawner.save();
        State {
            version: crate::VERSION.into(),
            pid: self.facts.pid,
            started: self.started,
            cwd: self.facts.cwd.clone(),
            program: self.facts.program.clone(),
            in_vm: self.in_vm,
            told: self.told(),
            listener: self.facts.listener,
            conversations,
            tickets,
            was_asked: self.was_asked,
            terminal,
            nofile,
            oom,
            table: self.table.save(),
            trees: self.trees.save(),
            strangers: self.strangers.save(),
            sockets: self.keeper.save(),
            stored: self.store.save(),
            ears: self.ears.save(),
            inputs: self.inputs.save(),
            chronicle,
            outputs: self.outputs.save(with_bytes),
            crashes: self.crashes,
            births: self.spawner.births.save(),
            ended: self.at_hand,
            unsent: self.unsent(),
            heard: Vec::new(),
            signals: Vec::new(),
            in_hand: None,
            files: Vec::new(),
        }
    }

    /// Writes a state down, with the bytes that jobs have written.
    pub fn write(&self, state: &State) -> std::io::Result<OwnedFd> {
        state.write(&self.outputs)
    }

    /// The same, to where a file stands.
    pub fn write_to(&self, state: &State, file: impl Write + Seek) -> std::io::Result<()> {
        state.write_to(file, &self.outputs)
    }

    /// Goes on where another was written down. To be called within the runtime.
    pub fn resume(
        &mut self,
        state: State,
        rules: Rules,
        bytes: &mut impl Read,
        inherited: &mut Inherited,
    ) -> Result<(), Unreadable> {
        info!("going on where init {} has left off", state.version);
        self.started = state.started;
        self.was_asked = state.was_asked;
        self.table = Table::restore(rules, state.table);
        self.trees = Trees::restore(state.trees, inherited)?;
        self.strangers.restore(state.strangers, inherited)?;
        self.keeper = Keeper::restore(state.sockets, inherited)?;
        self.store = Store::restore(state.stored, inherited)?;
        self.ears.restore(state.ears, inherited)?;
        self.tell_again(state.told);
        self.chronicle = Chronicle::restore(state.chronicle);
        self.inputs = input::Inputs::restore(state.inputs, inherited)?;
        self.outputs = Outputs::restore(state.outputs, bytes, inherited)?;
        self.crashes = state.crashes;
        self.at_hand = state.ended;
        self.undone.push(state.unsent.into_iter().map(Unsent::effect).collect());
        for birth in state.births {
            let (child, outfit) = birth.claim(inherited)?;
            self.deliver(child, outfit);
        }
        for heard in state.heard {
            if let Some(message) = self.ears.again(heard, inherited)? {
                self.hear(message);
            }
        }
        Ok(())
    }
}
