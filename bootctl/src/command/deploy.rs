//! `bootctl deploy APP [--from DIR|ARCHIVE]`
//!
//! What is sent is read where the command runs: a folder is packed on the way, an archive goes as it is.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;

use super::{progress, task};
use crate::admin::client::{Client, ClientError};
use crate::admin::releases::ReleasesView;
use crate::admin::wire::{AppState, AppView};
use crate::cli::Work;
use crate::http::segment;
use crate::release::pack::{Folder, PackError};
use crate::speech::remark;
use crate::table::size;
use crate::upload::Upload;
use crate::work::Task;

/// Switch an app to a new release; done when all of it serves
///
/// What is named by --from becomes a release of its own, which the app then runs from: relative `cwd` and `exec` of its
/// file start there. Instances are replaced one by one. If the new ones do not get ready, or fail soon after, the app
/// goes back to what it ran from before. Without --from the commands of its [deploy] make the new release
/// (see upgrade).
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bootctl deploy shop.example --from ./build
  bootctl deploy shop.example --from shop-1.2.tar.gz
  bootctl deploy shop.example

Exit codes: that of a command of [deploy] that has failed, else as always.")]
pub(crate) struct Deploy {
    /// A folder, or an archive: tar, tar.gz or tar.zst
    #[arg(long, value_name = "DIR|ARCHIVE")]
    pub(crate) from: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) work: Work,
}

/// What is told to whoever leaves before all was sent.
const NOT_SENT: &str = "the archive was not sent as a whole, or was not a release yet: `bootctl releases` shows \
                        whether it has become one";
/// What takes less is not worth a word.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is told how much was sent: on a terminal, and elsewhere.
const QUICK: Duration = Duration::from_millis(100);
const SLOW: Duration = Duration::from_secs(10);

pub(super) async fn run(deploy: &Deploy) -> Result<String, ClientError> {
    let Some(from) = &deploy.from else {
        return task::run(&deploy.work, Task::Deploy).await;
    };
    let (app, client) =
        (segment(&deploy.work.change.app), Client::at(&deploy.work.change.at.socket()));
    let within = deploy.work.change.wait.duration();
    // Whatever can be refused without the archive is refused before it is read.
    let _: ReleasesView = client.get(&format!("/apps/{app}/releases")).await?;
    let source = Source::open(from)?;
    let total = source.size();
    let (upload, sent) = Upload::of(move |to| source.write(to));
    let teller = tokio::spawn(tell(sent, total));
    let (path, wait) = (format!("/apps/{app}/release"), &deploy.work.change.wait);
    let answer = progress::unless_left(client.send(&path, upload, within), NOT_SENT).await;
    teller.abort();
    clear_line();
    let view: AppView = progress::rest(&client, answer?, wait).await?;
    let (name, release) = (&view.app, view.release.unwrap_or_default());
    Ok(match view.state {
        AppState::Stopped => {
            format!("{name} is stopped; `bootctl start {name}` starts it from release {release}")
        }
        AppState::Parked => format!(
            "{name} is parked; release {release} runs when it has instances (`bootctl scale`)"
        ),
        _ => format!("{name} runs from release {release}: {}", view.places()),
    })
}

/// What is sent.
enum Source {
    Folder(Folder),
    Archive(File, u64),
}

impl Source {
    fn open(path: &Path) -> Result<Self, PackError> {
        let failed = |source| PackError::Read { path: path.to_owned(), source };
        let about = std::fs::metadata(path).map_err(failed)?;
        if about.is_dir() {
            return Ok(Self::Folder(Folder::survey(path)?));
        }
        if !about.is_file() {
            return Err(PackError::Kind(PathBuf::from(path)));
        }
        Ok(Self::Archive(File::open(path).map_err(failed)?, about.len()))
    }

    fn size(&self) -> u64 {
        match self {
            Self::Folder(folder) => folder.size(),
            Self::Archive(_, size) => *size,
        }
    }

    fn write(self, to: &mut dyn Write) -> Result<(), PackError> {
        match self {
            Self::Folder(folder) => folder.pack(to),
            Self::Archive(mut file, _) => Ok(io::copy(&mut file, to).map(drop)?),
        }
    }
}

/// Tells how much was sent, if it takes its time.
async fn tell(sent: Arc<AtomicU64>, total: u64) {
    tokio::time::sleep(PATIENCE).await;
    let on_screen = io::stderr().is_terminal();
    loop {
        let now = sent.load(Ordering::Relaxed).min(total);
        let text = format!("sent {} of {}", size(now), size(total));
        if on_screen {
            remark(format_args!("\r{text}\x1b[K"));
        } else {
            remark(format_args!("{text}\n"));
        }
        if now == total {
            return;
        }
        tokio::time::sleep(if on_screen { QUICK } else { SLOW }).await;
    }
}

fn clear_line() {
    if io::stderr().is_terminal() {
        remark("\r\x1b[K");
    }
}
