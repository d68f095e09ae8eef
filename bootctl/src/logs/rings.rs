//! What init keeps of what apps write: for when there are no logs. The same lines, without files.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use init_wire::{JobInfo, OutputEvent};

use super::collector::owner;
use super::gather::{Gatherer, Owner, Piece};
use super::history::Text;
use super::scribe::ago;
use super::wish::Wish;
use crate::client::{Init, InitError, bytes};

/// Lines out of init, of one app or of all.
pub(crate) struct Rings {
    init: Init,
    only: Option<String>,
    gatherer: Gatherer,
    life: String,
}

/// Takes a line.
type Take<'a> = &'a mut dyn FnMut(&str, &Text) -> io::Result<()>;

/// Why there are no lines.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RingsError {
    #[error(transparent)]
    Init(#[from] InitError),
    #[error(transparent)]
    Out(#[from] io::Error),
}

impl Rings {
    /// Whether there is anything of that app to be read.
    pub(crate) async fn open(init: Init, only: Option<&str>) -> Result<Option<Self>, InitError> {
        let mut gatherer = Gatherer::default();
        let mut is_there = false;
        for job in init.jobs().await? {
            let owner = whose(&job, only);
            is_there |= owner.is_some();
            gatherer.introduce(&job.id, owner);
        }
        let (only, life) = (only.map(str::to_owned), String::new());
        Ok(is_there.then_some(Self { init, only, gatherer, life }))
    }

    /// Shows the last lines there are.
    pub(crate) async fn last(
        &mut self,
        count: usize,
        wish: &Wish,
        take: Take<'_>,
    ) -> Result<(), RingsError> {
        let mut collected = self.init.collect(None, false).await?;
        let mut last = VecDeque::new();
        while let Some(Ok(event)) = collected.next().await {
            self.take(event).await?;
            self.let_go(wish, &mut |app, text| {
                last.push_back((app.to_owned(), text.clone()));
                if last.len() > count {
                    last.pop_front();
                }
                Ok(())
            })?;
        }
        self.gatherer.let_everything_go();
        self.let_go(wish, &mut |app, text| {
            last.push_back((app.to_owned(), text.clone()));
            Ok(())
        })?;
        let surplus = last.len().saturating_sub(count);
        for (app, text) in last.into_iter().skip(surplus) {
            take(&app, &text)?;
        }
        Ok(())
    }

    /// Shows what comes, for as long as init lives.
    pub(crate) async fn follow(&mut self, wish: &Wish, take: Take<'_>) -> Result<(), RingsError> {
        loop {
            let from = (self.life.clone(), self.gatherer.position());
            let mut collected = self.init.collect(Some((&from.0, from.1)), true).await?;
            loop {
                let late = async {
                    match self.gatherer.deadline() {
                        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    event = collected.next() => match event {
                        Some(Ok(event)) => self.take(event).await?,
                        // init has become another one.
                        Some(Err(_)) | None => break,
                    },
                    () = late => self.gatherer.let_late_go(Instant::now()),
                }
                self.let_go(wish, take)?;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn take(&mut self, event: OutputEvent) -> Result<(), InitError> {
        match event {
            OutputEvent::Ready { life, .. } => self.life = life,
            OutputEvent::Output { position, job, stream, offset, time, text, base64 } => {
                if !self.gatherer.knows(&job) {
                    let owner = match self.init.job(&job).await {
                        Ok(info) => whose(&info, self.only.as_deref()),
                        // It was cleared meanwhile.
                        Err(InitError::Refused(_)) => None,
                        Err(error) => return Err(error),
                    };
                    self.gatherer.introduce(&job, owner);
                }
                let bytes = bytes(text, base64.as_deref());
                let piece = Piece { position, offset, time: &time, bytes: &bytes };
                self.gatherer.take(&job, stream, piece, Instant::now());
            }
            OutputEvent::Missed { job: Some(job), stream: Some(stream), offset, .. } => {
                let offset = offset.unwrap_or_default();
                self.gatherer.miss(&job, stream, offset, &ago(Duration::ZERO));
            }
            OutputEvent::Missed { .. } => self.gatherer.miss_some(&ago(Duration::ZERO)),
        }
        Ok(())
    }

    /// Hands on the lines that have come together.
    fn let_go(&mut self, wish: &Wish, take: Take<'_>) -> io::Result<()> {
        for (app, page) in self.gatherer.pages() {
            for line in page.text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let text = Text(line.to_vec());
                if text.line().is_some_and(|line| wish.takes(&line)) {
                    take(&app, &text)?;
                }
            }
        }
        Ok(())
    }
}

/// Whose a job is, if it is the one that is asked for.
fn whose(job: &JobInfo, only: Option<&str>) -> Option<Owner> {
    let owner = owner(&job.id, Some(&job.spec), Path::new("/"))?;
    only.is_none_or(|only| only == &*owner.app).then_some(owner)
}
