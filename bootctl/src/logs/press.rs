//! Compressing old files, in the background and after everybody else, and reading them.
//!
//! Both ways are in Rust alone. A file is compressed under another name and renamed when it is whole and on
//! the disk; only then the one it was made of is removed. So whoever is killed when, one of the two is
//! there, and what is left over is removed by the next one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use rustix::process::{Pid, setpriority_process};
use ruzstd::decoding::StreamingDecoder;
use ruzstd::encoding::{CompressionLevel, compress};
use tracing::warn;

use super::keeping::{Compress, Keeping};
use super::shelf::{self, suffix};

/// After everybody else.
const LOWEST: i32 = 19;

/// Compresses what there is to compress.
#[derive(Clone, Debug)]
pub(crate) struct Press {
    folder: PathBuf,
    /// How each app wants it, and all others.
    apps: Arc<BTreeMap<String, Keeping>>,
    all: Keeping,
    is_busy: Arc<AtomicBool>,
    has_more: Arc<AtomicBool>,
}

impl Press {
    pub(crate) fn new(folder: &Path, all: Keeping, apps: Arc<BTreeMap<String, Keeping>>) -> Self {
        let (is_busy, has_more) = (Arc::default(), Arc::default());
        Self { folder: folder.to_owned(), apps, all, is_busy, has_more }
    }

    /// Removes what was left over by one that was killed.
    pub(crate) fn tidy(&self) -> io::Result<()> {
        for path in shelf::unfinished(&self.folder)? {
            fs::remove_file(path)?;
        }
        Ok(())
    }

    /// Begins to compress, unless that goes on already; a thread is there only while there is work.
    pub(crate) fn work(&self) {
        self.has_more.store(true, Ordering::SeqCst);
        if self.is_busy.swap(true, Ordering::SeqCst) {
            return;
        }
        let press = self.clone();
        let spawned = thread::Builder::new().name("press".into()).spawn(move || press.run());
        if let Err(error) = spawned {
            warn!("old logs are not compressed: {error}; it is tried again with the next one");
            self.is_busy.store(false, Ordering::SeqCst);
        }
    }

    fn run(&self) {
        // Linux has a priority for each thread.
        let own = Pid::from_raw(rustix::thread::gettid().as_raw_nonzero().get());
        // Not being allowed to is no reason not to do it.
        let _ = setpriority_process(own, LOWEST);
        loop {
            while self.has_more.swap(false, Ordering::SeqCst) {
                if let Err(error) = self.press_all() {
                    warn!("old logs in {} stay as they are: {error}", self.folder.display());
                }
            }
            self.is_busy.store(false, Ordering::SeqCst);
            // Whoever has found it busy meanwhile has said so before.
            let is_mine = || !self.is_busy.swap(true, Ordering::SeqCst);
            if !self.has_more.load(Ordering::SeqCst) || !is_mine() {
                return;
            }
        }
    }

    pub(super) fn press_all(&self) -> io::Result<()> {
        for old in shelf::all_old(&self.folder)?.iter().filter(|old| old.packed.is_none()) {
            let keeping = self.apps.get(&old.app).unwrap_or(&self.all);
            match pack(&old.path, keeping.compress) {
                // It was too old to be kept, or was cleared.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                done => done?,
            }
        }
        Ok(())
    }
}

/// Compresses a file; it has another name afterwards.
fn pack(path: &Path, how: Compress) -> io::Result<()> {
    let Some(suffix) = suffix(how) else { return Ok(()) };
    let with = |end: &str| PathBuf::from(format!("{}.{end}", path.display()));
    let (new, packed) = (with(&format!("{suffix}.new")), with(suffix));
    let plain = File::open(path)?;
    let written = write_packed(&plain, &new, how).and_then(|()| {
        // Whoever has cleared the log meanwhile does not want it back.
        if path.exists() { fs::rename(&new, &packed) } else { Err(io::ErrorKind::NotFound.into()) }
    });
    if let Err(error) = written {
        drop(fs::remove_file(&new));
        return Err(error);
    }
    fs::remove_file(path)
}

fn write_packed(plain: &File, new: &Path, how: Compress) -> io::Result<()> {
    let mut reader = BufReader::new(plain);
    let file = File::create(new)?;
    file.set_permissions(plain.metadata()?.permissions())?;
    match how {
        Compress::Gzip => {
            let mut encoder = GzEncoder::new(&file, Compression::default());
            io::copy(&mut reader, &mut encoder)?;
            encoder.finish()?;
        }
        Compress::Zstd => {
            // It takes for granted that there are no errors at either end.
            let (mut source, mut sink) = (Wary::of(reader), Wary::of(&file));
            compress(&mut source, &mut sink, CompressionLevel::Fastest);
            if let Some(error) = source.error.or(sink.error) {
                return Err(error);
            }
        }
        Compress::None => drop(io::copy(&mut reader, &mut &file)?),
    }
    file.sync_all()
}

/// Keeps the first error to itself: it is as if the source had ended, or the sink took everything.
struct Wary<T> {
    end: T,
    error: Option<io::Error>,
}

impl<T> Wary<T> {
    fn of(end: T) -> Self {
        Self { end, error: None }
    }
}

impl<T: Read> Read for Wary<T> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        Ok(self.end.read(bytes).unwrap_or_else(|error| {
            self.error.get_or_insert(error);
            0
        }))
    }
}

impl<T: io::Write> io::Write for Wary<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.error.is_none() {
            self.error = self.end.write_all(bytes).err();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a file, compressed or not.
pub(crate) fn open(path: &Path, packed: Option<&str>) -> io::Result<Box<dyn BufRead>> {
    let file = BufReader::new(File::open(path)?);
    Ok(match packed {
        Some("gz") => Box::new(BufReader::new(MultiGzDecoder::new(file))),
        Some(_) => {
            let decoder = StreamingDecoder::new(file).map_err(io::Error::other)?;
            Box::new(BufReader::new(Box::new(decoder) as Box<dyn Read>))
        }
        None => Box::new(file),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o12_what_is_compressed_can_be_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let lines: Vec<String> = (0..60_000).map(|n| format!("line {n} of some text\n")).collect();
        let lines = lines.concat();
        let all = Keeping { compress: Compress::Zstd, ..Keeping::default() };
        let gzip = BTreeMap::from([("b".to_owned(), Keeping::default())]);
        let name = |app: &str| folder.path().join(format!("{app}.log.20261122T004007.123Z"));
        let left = folder.path().join("a.log.20261122T004007.123Z.zst.new");
        for path in [&name("a"), &name("b"), &left] {
            fs::write(path, &lines).expect("written");
        }
        let press = Press::new(folder.path(), all, Arc::new(gzip));
        press.tidy().expect("tidied");
        assert!(!left.exists());
        press.press_all().expect("compressed");
        let old = shelf::all_old(folder.path()).expect("read");
        let packed: Vec<_> = old.iter().map(|old| old.packed).collect();
        assert_eq!(packed, [Some("zst"), Some("gz")]);
        for old in old {
            let size = fs::metadata(&old.path).expect("there").len();
            assert!(size < lines.len() as u64 / 3, "{:?}: {size}", old.packed);
            let mut text = String::new();
            let mut reader = open(&old.path, old.packed).expect("opened");
            reader.read_to_string(&mut text).expect("read");
            assert!(text == lines, "{:?}", old.packed);
        }
    }
}
