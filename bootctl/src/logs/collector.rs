//! `bootctl collect`: follows what all jobs write, through init's API, and writes it to files.
//!
//! ```text
//! init ─ one answer without end ─▶ Gatherer ─ pages ─▶ Ledger, then log ─▶ Console, if wanted
//! ```
//!
//! One thread, one connection, and no file open but the ledger, however many jobs there are; it wakes up
//! when somebody writes, and once more when a line has not come to its end. It may be killed at any time:
//! the ledger says where its successor goes on, and init keeps what is written meanwhile.
//!
//! In a container, lines are repeated on its output as well; where the folder can never be written to, because all
//! is read-only say, they are only repeated there, and what was on its way when it is killed may come twice.
//!
//! While nothing can be written, because the disk is full say, it reads nothing: init keeps the newest of each
//! stream, apps go on, and what init has no room for is noted as lost when there is room again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use init_wire::{JobSpec, OutputEvent};
use nix::fcntl::{Flock, FlockArg};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{sleep, sleep_until};
use tracing::{error, info, warn};

use super::console::Console;
use super::gather::{Gatherer, Mark, Owner, Piece, StreamKey};
use super::herald::Herald;
use super::keeping::Keeping;
use super::ledger::{self, Entry, Known, Ledger, LedgerError};
use super::scribe::{Scribe, ago};
use super::shelf::Shelf;
use crate::app::ENV_APP;
use crate::client::{Collected, Init, InitError, bytes};
use crate::generation::{self, Generation};
use crate::name::AppName;

/// Bytes of pages that are written at once, if so many come together.
const A_BATCH: usize = 64 << 10;
/// The pauses before what did not work is tried again.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// The same while logs cannot be written.
const TROUBLE: Duration = Duration::from_millis(500);
/// The same while there is no folder, or somebody else's.
const LONGEST_TROUBLE: Duration = Duration::from_secs(10);
/// Two collectors in one folder would write everything twice.
const LOCK: &str = ".collector.lock";

/// What it is told.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    pub(crate) folder: PathBuf,
    pub(crate) all: Keeping,
    pub(crate) apps: BTreeMap<String, Keeping>,
    /// Whether lines are repeated on its own output; if that is open, they are in a container.
    pub(crate) console: Option<bool>,
}

/// Why it cannot begin, or go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CollectError {
    #[error("SIGTERM cannot be heeded: {0}")]
    Signal(std::io::Error),
}

/// It was told to end.
struct ToldToEnd;

struct Collector {
    init: Init,
    folder: PathBuf,
    gatherer: Gatherer,
    scribe: Scribe,
    ledger: Option<Ledger>,
    /// The life of init that all places are in; none before init has told.
    life: Option<String>,
    /// All before it is in the logs.
    floor: u64,
    console: Option<Console>,
    /// Whether lines are written to files, too.
    has_files: bool,
    herald: Herald,
    end: Signal,
}

/// Collects until it is told to end.
pub(crate) async fn run(init: Init, orders: Orders) -> Result<(), CollectError> {
    let end = signal(SignalKind::terminate()).map_err(CollectError::Signal)?;
    let Orders { folder, all, apps, console } = orders;
    let mut collector = Collector {
        init,
        scribe: Scribe::new(&folder, all, apps),
        folder,
        gatherer: Gatherer::default(),
        ledger: None,
        life: None,
        floor: 0,
        console: None,
        has_files: true,
        herald: Herald::new(),
        end,
    };
    let worked = collector.work(console).await;
    if let Err(ToldToEnd) = worked {
        info!("told to end");
    }
    Ok(())
}

impl Collector {
    async fn work(&mut self, console: Option<bool>) -> Result<(), ToldToEnd> {
        if self.has_console(console).await {
            self.console = Console::open();
        }
        let lock = self.lock().await?;
        self.has_files = lock.is_some();
        let mut known = Known::default();
        if self.has_files {
            self.scribe.tidy();
            known = self.known();
        }
        let mut pause = FIRST_PAUSE;
        loop {
            match self.follow(&mut known).await {
                Ok(()) => pause = FIRST_PAUSE,
                Err(Broken::Init(error)) => {
                    warn!("{error}; what is written meanwhile is kept by init");
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(Broken::End) => return self.finish().await,
            }
            self.wait(pause).await?;
        }
    }

    /// Follows one answer until it ends.
    async fn follow(&mut self, known: &mut Known) -> Result<(), Broken> {
        let from = match &self.life {
            Some(life) => Some((life.clone(), self.gatherer.position())),
            None => known.life.clone().map(|life| (life, known.floor)),
        };
        let from = from.as_ref().map(|(life, position)| (life.as_str(), *position));
        let mut collected = self.init.collect(from, true).await?;
        loop {
            let event = tokio::select! {
                biased;
                _ = self.end.recv() => return Err(Broken::End),
                event = collected.next() => event,
                () = until(self.gatherer.deadline()) => {
                    self.gatherer.let_late_go(Instant::now());
                    self.write().await?;
                    continue;
                }
            };
            let Some(Ok(event)) = event else { return Ok(()) };
            self.take(event, known).await?;
            let is_over = self.take_more(&mut collected, known).await?;
            self.write().await?;
            if is_over {
                return Ok(());
            }
        }
    }

    /// Takes what has come already; says whether the answer is over.
    async fn take_more(
        &mut self,
        collected: &mut Collected,
        known: &mut Known,
    ) -> Result<bool, Broken> {
        while self.gatherer.size() < A_BATCH {
            match collected.next().now_or_never() {
                Some(Some(Ok(event))) => self.take(event, known).await?,
                Some(Some(Err(_)) | None) => return Ok(true),
                None => return Ok(false),
            }
        }
        Ok(false)
    }

    async fn take(&mut self, event: OutputEvent, known: &mut Known) -> Result<(), Broken> {
        match event {
            OutputEvent::Ready { position, life } => self.begin(position, life, known).await?,
            OutputEvent::Output { position, job, stream, offset, time, text, base64 } => {
                self.introduce(&job).await?;
                let bytes = bytes(text, base64.as_deref());
                let piece = Piece { position, offset, time: &time, bytes: &bytes };
                self.gatherer.take(&job, stream, piece, Instant::now());
            }
            OutputEvent::Missed { job: Some(job), stream: Some(stream), offset, .. } => {
                self.introduce(&job).await?;
                self.gatherer.miss(&job, stream, offset.unwrap_or_default(), &ago(Duration::ZERO));
            }
            OutputEvent::Missed { .. } => self.gatherer.miss_some(&ago(Duration::ZERO)),
        }
        Ok(())
    }

    /// init says where it begins, and in which life.
    async fn begin(
        &mut self,
        position: u64,
        life: String,
        known: &mut Known,
    ) -> Result<(), Broken> {
        if self.life.as_ref() == Some(&life) {
            return Ok(());
        }
        // The last words of an earlier life.
        self.gatherer.let_everything_go();
        self.write().await?;
        let known = std::mem::take(known);
        if known.life.as_ref() == Some(&life) {
            self.resume(known).await?;
        } else {
            self.gatherer = Gatherer::at(position, []);
            self.floor = position;
        }
        self.life = Some(life);
        self.ledger = None;
        self.open_ledger().await?;
        for job in self.init.jobs().await? {
            let owner = owner(&job.id, Some(&job.spec), &self.folder);
            self.gatherer.introduce(&job.id, owner);
        }
        self.herald.ready();
        Ok(())
    }

    /// Goes on where an earlier collector was.
    async fn resume(&mut self, mut known: Known) -> Result<(), Broken> {
        while let Err(error) = known.repair(&self.folder) {
            let folder = self.folder.display();
            self.herald.trouble(Some(format!("a log in {folder} cannot be repaired: {error}")));
            self.wait(TROUBLE).await?;
        }
        self.herald.trouble(None);
        self.floor = known.floor;
        let streams = known.streams.into_iter().map(|(key, (owner, mark))| (key, owner, mark));
        self.gatherer = Gatherer::at(known.floor, streams);
        Ok(())
    }

    /// Finds out whose a job is.
    async fn introduce(&mut self, job: &str) -> Result<(), Broken> {
        if self.gatherer.knows(job) {
            return Ok(());
        }
        let owner = match self.init.job(job).await {
            Ok(info) => owner(job, Some(&info.spec), &self.folder),
            // It was cleared meanwhile.
            Err(InitError::Refused(_)) => owner(job, None, &self.folder),
            Err(error) => return Err(error.into()),
        };
        self.gatherer.introduce(job, owner);
        Ok(())
    }

    /// Writes what has come together, however long that takes.
    async fn write(&mut self) -> Result<(), ToldToEnd> {
        let floor = self.gatherer.floor();
        let pages = self.gatherer.pages();
        let mut left = pages.len();
        for (app, page) in pages {
            left -= 1;
            // Only the last page makes the whole batch written.
            let floor = if left == 0 { floor } else { self.floor };
            self.open_ledger().await?;
            while let Some(ledger) = &mut self.ledger {
                let gatherer = &self.gatherer;
                let owner = |key: &StreamKey| gatherer.owner(key).cloned();
                let Err(error) = self.scribe.write(ledger, &app, &page, owner, floor) else {
                    break;
                };
                self.herald.trouble(Some(error.to_string()));
                if let Err(end) = self.wait(TROUBLE).await {
                    // This page is not written, so nothing after it may be.
                    self.life = None;
                    return Err(end);
                }
                // The folder may have gone.
                drop(make(&self.folder));
            }
            if self.has_files {
                self.herald.trouble(None);
            }
            if let Some(console) = &mut self.console {
                console.show(&app, page.text);
            }
        }
        self.floor = floor;
        if self.ledger.as_ref().is_some_and(Ledger::is_full) {
            self.note_all();
        }
        Ok(())
    }

    /// Sees to it that there is a ledger.
    async fn open_ledger(&mut self) -> Result<(), ToldToEnd> {
        while self.has_files
            && self.ledger.is_none()
            && let Some(life) = &self.life
        {
            match Ledger::create(&self.folder, life, self.floor, self.entries()) {
                Ok(ledger) => self.ledger = Some(ledger),
                Err(error) => {
                    self.herald.trouble(Some(error.to_string()));
                    self.wait(TROUBLE).await?;
                }
            }
        }
        Ok(())
    }

    /// Writes the ledger anew; if that fails, the old one is as good.
    fn note_all(&mut self) {
        let Some(life) = self.life.as_ref().filter(|_| self.has_files) else { return };
        match Ledger::create(&self.folder, life, self.floor, self.entries()) {
            Ok(ledger) => self.ledger = Some(ledger),
            Err(error) => warn!("{error}; it grows until that works"),
        }
    }

    fn entries(&self) -> Vec<Entry> {
        let entry = |(key, owner, mark): (&StreamKey, &Owner, Mark)| Entry::new(key, owner, mark);
        self.gatherer.marks().map(entry).collect()
    }

    /// Takes what init has now, and writes all that it has.
    async fn finish(&mut self) -> Result<(), ToldToEnd> {
        if let Some(life) = self.life.clone() {
            let from = Some((life.as_str(), self.gatherer.position()));
            let mut known = Known::default();
            if let Ok(mut collected) = self.init.collect(from, false).await {
                while let Some(Ok(event)) = collected.next().await {
                    if self.take(event, &mut known).await.is_err() {
                        break;
                    }
                    if self.gatherer.size() >= A_BATCH {
                        self.write().await?;
                    }
                }
            }
            self.gatherer.let_everything_go();
            self.write().await?;
            self.note_all();
        }
        Ok(())
    }

    /// What earlier ones have left.
    fn known(&self) -> Known {
        Known::read(&self.folder).unwrap_or_else(|error| {
            let kept = match &error {
                LedgerError::Corrupt { .. } | LedgerError::Version { .. } => {
                    ledger::set_aside(&self.folder).ok()
                }
                LedgerError::Read { .. } | LedgerError::Write { .. } => None,
            };
            let kept = kept.map(|path| format!("; it is kept as {}", path.display()));
            let kept = kept.unwrap_or_default();
            error!("{error}{kept}; all that init keeps is collected, lines may be there twice");
            Known::default()
        })
    }

    async fn has_console(&self, told: Option<bool>) -> bool {
        if let Some(told) = told {
            return told;
        }
        // Who looks after a container looks at its output first, and its files go with it.
        let about = self.init.about().await;
        about.is_ok_and(|about| about.pid == 1 && !about.machine)
    }

    /// Waits until nobody else collects here. No lock if nobody can, and lines have another place to go to.
    async fn lock(&mut self) -> Result<Option<Flock<File>>, ToldToEnd> {
        let mut pause = TROUBLE;
        loop {
            let made = make(&self.folder).and_then(|()| File::create(self.folder.join(LOCK)));
            let trouble = match made {
                Ok(file) => match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                    Ok(lock) => {
                        self.herald.trouble(None);
                        return Ok(Some(lock));
                    }
                    Err((_, _)) => {
                        format!("another collector writes to {}", self.folder.display())
                    }
                },
                Err(error) if self.console.is_some() && is_for_good(&error) => {
                    let folder = self.folder.display();
                    let text = format!("{folder}: {error}; lines are repeated here only");
                    self.herald.trouble(Some(text));
                    return Ok(None);
                }
                Err(error) => {
                    format!("the folder {} cannot be used: {error}", self.folder.display())
                }
            };
            self.herald.trouble(Some(trouble));
            self.wait(pause).await?;
            pause = (pause * 2).min(LONGEST_TROUBLE);
        }
    }

    async fn wait(&mut self, pause: Duration) -> Result<(), ToldToEnd> {
        tokio::select! {
            _ = self.end.recv() => Err(ToldToEnd),
            () = sleep(pause) => Ok(()),
        }
    }
}

/// Why an answer is not followed any more.
enum Broken {
    Init(InitError),
    End,
}

impl From<InitError> for Broken {
    fn from(error: InitError) -> Self {
        Self::Init(error)
    }
}

impl From<ToldToEnd> for Broken {
    fn from(_: ToldToEnd) -> Self {
        Self::End
    }
}

/// Whether it is of no use to try again.
fn is_for_good(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied)
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

fn make(folder: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o750).create(folder)
}

/// Whose a job is; nobody's if it is none of bootctl's. Of a job that is not there any more, its name tells, if
/// there is a log of such an app.
pub(super) fn owner(job: &str, spec: Option<&JobSpec>, folder: &Path) -> Option<Owner> {
    if let Some(generation) = Generation::of_job(job)
        && spec.is_none_or(generation::is_ours)
    {
        let writer = generation.number().to_string();
        return Some(Owner { app: generation::JOB.into(), writer: writer.into() });
    }
    if let Some(spec) = spec {
        let app = AppName::parse(spec.envs.get(ENV_APP)?).ok()?;
        let rest = job.strip_prefix(app.as_str()).and_then(|rest| rest.strip_prefix('.'));
        return Some(Owner { app: app.as_str().into(), writer: Arc::from(rest.unwrap_or(job)) });
    }
    let (app, number) = job.rsplit_once('.')?;
    let number: u32 = number.parse().ok()?;
    let is_known = Shelf::new(folder, AppName::parse(app).ok()?.as_str()).current().exists();
    is_known.then(|| Owner { app: app.into(), writer: number.to_string().into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_says_whose_it_is_and_after_it_is_gone_its_name_does() {
        let folder = tempfile::tempdir().expect("a folder");
        let told = |job: &str, spec: Option<&JobSpec>| {
            let owner = owner(job, spec, folder.path());
            owner.map(|owner| format!("{} {}", owner.app, owner.writer))
        };
        let mut spec = JobSpec::new("x");
        assert_eq!(told("shop.example.1", Some(&spec)), None, "somebody else's");
        assert_eq!(told("proxyd.2", Some(&spec)), None);
        assert_eq!(told("proxyd.2", None).as_deref(), Some("proxyd 2"));
        assert_eq!(told("shop.example.1", None), None);
        spec.envs.insert(ENV_APP.into(), "shop.example".into());
        assert_eq!(told("shop.example.1", Some(&spec)).as_deref(), Some("shop.example 1"));
        assert_eq!(
            told("shop.example.update", Some(&spec)).as_deref(),
            Some("shop.example update")
        );
        assert_eq!(told("hook", Some(&spec)).as_deref(), Some("shop.example hook"));
        fs::write(folder.path().join("shop.example.log"), "").expect("written");
        assert_eq!(told("shop.example.1", None).as_deref(), Some("shop.example 1"));
    }
}
