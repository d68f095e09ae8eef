//! The lines of an app that are in its files, compressed ones included, and where they end for now.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;

use init_wire::Channel;

use super::line::{Kind, Line, parse};
use super::press;
use super::shelf::{Old, Shelf, compact};
use super::wish::Wish;

/// What is read of the end of a file at first, when its last lines are looked for.
const A_BITE: u64 = 64 << 10;
/// The longest line: longer ones are not the collector's, and come in parts.
const LONGEST_LINE: u64 = 1 << 20;

/// A line in the form that it has in a file, without its end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Text(pub(crate) Vec<u8>);

/// Where the lines of an app end for now.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) shelf: Shelf,
    /// The file that is written to, if it is there.
    pub(crate) current: Option<Open>,
    /// The last file that was put away before.
    pub(crate) newest: Option<String>,
}

/// A file, and how far it has been read.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) file: File,
    pub(crate) inode: u64,
    pub(crate) offset: u64,
}

/// An app's files, at one moment.
#[derive(Debug)]
pub(crate) struct History {
    old: Vec<Old>,
    place: Place,
}

impl Text {
    /// Its parts. It has some: what is no line is made one.
    pub(crate) fn line(&self) -> Option<Line<'_>> {
        parse(&self.0)
    }

    fn time(&self) -> &str {
        self.line().map_or("", |line| line.time)
    }
}

impl History {
    /// Looks at an app's files.
    pub(crate) fn open(shelf: Shelf) -> io::Result<Self> {
        let (old, mut current) = look(&shelf)?;
        if let Some(open) = &mut current {
            open.offset = open.file.metadata()?.len();
        }
        let newest = old.last().map(|old| old.time.clone());
        Ok(Self { old, place: Place { shelf, current, newest } })
    }

    /// The last lines that are wanted, as many as there are to be, and where they end.
    pub(crate) fn last(mut self, count: usize, wish: &Wish) -> io::Result<(Vec<Text>, Place)> {
        let mut found = VecDeque::new();
        if let Some(open) = &mut self.place.current {
            found = tail(open, count, wish)?;
        }
        for old in self.old.iter().rev() {
            if found.len() >= count || is_before(old, wish) {
                break;
            }
            let mut lines = VecDeque::new();
            let room = count - found.len();
            for text in Lines::of(old)?.wanted(wish) {
                if lines.len() >= room {
                    lines.pop_front();
                }
                lines.push_back(text?);
            }
            lines.append(&mut found);
            found = lines;
        }
        Ok((found.into(), self.place))
    }

    /// All lines that are wanted, the oldest first, and where they end.
    pub(crate) fn all(
        self,
        wish: &Wish,
    ) -> io::Result<(impl Iterator<Item = io::Result<Text>> + use<>, Place)> {
        let Self { old, mut place } = self;
        let current = place.current.as_mut().map(|open| -> io::Result<Lines> {
            let file = open.file.try_clone()?;
            open.offset = end_of_lines(&file, open.offset)?;
            let mut file = BufReader::new(file);
            file.seek(SeekFrom::Start(0))?;
            Ok(Lines::new(Box::new(file.take(open.offset))))
        });
        let current = current.transpose()?;
        let wish = wish.clone();
        let recent = wish.clone();
        let old = old.into_iter().filter(move |old| !is_before(old, &recent));
        let old = old.flat_map(|old| match Lines::of(&old) {
            Ok(lines) => Either::Lines(lines),
            Err(error) => Either::Error(Some(error)),
        });
        let all = old.chain(current.into_iter().flatten());
        let is_wanted = move |text: &io::Result<Text>| match text {
            Ok(text) => text.line().is_some_and(|line| wish.takes(&line)),
            Err(_) => true,
        };
        Ok((all.filter(is_wanted), place))
    }
}

/// The files of an app as they are at one moment: those that were put away, and the one that is written to.
pub(crate) fn look(shelf: &Shelf) -> io::Result<(Vec<Old>, Option<Open>)> {
    let mut before = shelf.old()?;
    loop {
        let current = match File::open(shelf.current()) {
            Ok(file) => Some(Open { inode: file.metadata()?.ino(), offset: 0, file }),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        // What is put away between the two would be there twice.
        let old = shelf.old()?;
        if old.last().map(|old| &old.time) == before.last().map(|old| &old.time) {
            return Ok((old, current));
        }
        before = old;
    }
}

/// Whether a file was put away before anything that is wanted.
fn is_before(old: &Old, wish: &Wish) -> bool {
    old.time < compact(&wish.since.0)
}

/// The last lines of a file that are wanted; it is read up to its last whole line then.
fn tail(open: &mut Open, count: usize, wish: &Wish) -> io::Result<VecDeque<Text>> {
    open.offset = end_of_lines(&open.file, open.offset)?;
    let mut size = A_BITE;
    loop {
        let begin = open.offset.saturating_sub(size);
        let mut file = BufReader::new(open.file.try_clone()?);
        file.seek(SeekFrom::Start(begin))?;
        let mut file = file.take(open.offset - begin);
        if begin > 0 {
            // It begins in the middle of a line.
            file.skip_until(b'\n')?;
        }
        let lines: io::Result<VecDeque<Text>> = Lines::new(Box::new(file)).wanted(wish).collect();
        let mut lines = lines?;
        if begin == 0 || lines.len() >= count {
            drop(lines.drain(..lines.len().saturating_sub(count)));
            return Ok(lines);
        }
        size = size.saturating_mul(4);
    }
}

/// Where the last whole line ends.
fn end_of_lines(file: &File, length: u64) -> io::Result<u64> {
    let mut end = length;
    while end > 0 {
        let begin = end.saturating_sub(A_BITE);
        let mut bytes = vec![0; usize::try_from(end - begin).unwrap_or_default()];
        std::os::unix::fs::FileExt::read_exact_at(file, &mut bytes, begin)?;
        if let Some(at) = bytes.iter().rposition(|byte| *byte == b'\n') {
            return Ok(begin + at as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}

/// The lines of a file, or why there are none.
enum Either {
    Lines(Lines),
    Error(Option<io::Error>),
}

impl Iterator for Either {
    type Item = io::Result<Text>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Lines(lines) => lines.next(),
            Self::Error(error) => error.take().map(Err),
        }
    }
}

/// The lines of one file.
pub(crate) struct Lines {
    file: Option<Box<dyn BufRead>>,
    /// Of the last line, for what is none.
    time: String,
}

impl Lines {
    pub(crate) fn new(file: Box<dyn BufRead>) -> Self {
        Self { file: Some(file), time: Wish::default().since.0 }
    }

    /// Of an earlier file; it may be compressed while somebody is about to open it. One that has gone for
    /// good has none.
    pub(crate) fn of(old: &Old) -> io::Result<Self> {
        let opened = press::open(&old.path, old.packed).or_else(|error| {
            let packed = ["gz", "zst"].into_iter().find_map(|end| {
                let path = format!("{}.{end}", old.path.display());
                press::open(path.as_ref(), Some(end)).ok()
            });
            packed.ok_or(error)
        });
        match opened {
            Ok(file) => Ok(Self::new(file)),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Ok(Self { file: None, ..Self::new(Box::new(io::empty())) })
            }
            Err(error) => {
                Err(io::Error::new(error.kind(), format!("{}: {error}", old.path.display())))
            }
        }
    }

    fn wanted(self, wish: &Wish) -> impl Iterator<Item = io::Result<Text>> {
        self.filter(|text| match text {
            Ok(text) => text.line().is_some_and(|line| wish.takes(&line)),
            Err(_) => true,
        })
    }
}

impl Iterator for Lines {
    type Item = io::Result<Text>;

    fn next(&mut self) -> Option<Self::Item> {
        let file = self.file.as_mut()?;
        let mut bytes = Vec::new();
        match file.take(LONGEST_LINE).read_until(b'\n', &mut bytes) {
            Ok(0) => None,
            Ok(_) => {
                bytes.pop_if(|byte| *byte == b'\n');
                Some(Ok(whole(bytes, &mut self.time)))
            }
            Err(error) => {
                self.file = None;
                Some(Err(error))
            }
        }
    }
}

/// A line, or what is none as a part of one.
pub(crate) fn whole(bytes: Vec<u8>, time: &mut String) -> Text {
    if let Some(line) = parse(&bytes) {
        line.time.clone_into(time);
        return Text(bytes);
    }
    let (writer, channel, kind) = ("?", Channel::Stderr, Kind::Part);
    let mut made = Vec::new();
    Line { time, writer, channel, kind, text: bytes.into() }.write(&mut made);
    made.pop();
    Text(made)
}

/// The lines of several apps as one, by time; those of the same time in the order of the apps.
pub(crate) fn merge<I: Iterator<Item = io::Result<Text>>>(
    apps: Vec<(String, I)>,
) -> impl Iterator<Item = io::Result<(String, Text)>> {
    let mut apps: Vec<_> = apps.into_iter().map(|(app, lines)| (app, lines.peekable())).collect();
    let time = |head: &io::Result<Text>| match head {
        Ok(text) => text.time().to_owned(),
        // It is told at once.
        Err(_) => String::new(),
    };
    let heads = apps.iter_mut().enumerate();
    let heads = heads.filter_map(|(at, (_, lines))| Some(Reverse((time(lines.peek()?), at))));
    let mut heads: BinaryHeap<_> = heads.collect();
    std::iter::from_fn(move || {
        let Reverse((_, first)) = heads.pop()?;
        let (app, lines) = apps.get_mut(first)?;
        let line = lines.next()?;
        heads.extend(lines.peek().map(|next| Reverse((time(next), first))));
        Some(line.map(|text| (app.clone(), text)))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::logs::keeping::{Compress, Keeping};
    use crate::logs::press::Press;

    fn line(second: u32, text: &str) -> String {
        format!("2026-11-22T00:00:{second:02}.000Z 1 out {text}\n")
    }

    fn texts(texts: &[Text]) -> Vec<String> {
        let text =
            |text: &Text| String::from_utf8_lossy(&text.line().expect("a line").text).into_owned();
        texts.iter().map(text).collect()
    }

    /// Three files of ten lines, of which the first is compressed.
    fn shelf(folder: &std::path::Path) -> Shelf {
        let shelf = Shelf::new(folder, "a");
        for file in 0..3_u32 {
            let lines: Vec<_> =
                (0..10).map(|n| line(file * 10 + n, &format!("{file}{n}"))).collect();
            fs::write(shelf.current(), lines.concat()).expect("written");
            if file < 2 {
                let time = format!("2026-11-22T00:00:{file}9.000Z");
                shelf.put_away(&time, 5).expect("put away");
            }
            if file == 0 {
                let all = Keeping { compress: Compress::Zstd, ..Keeping::default() };
                let press = Press::new(folder, all, std::sync::Arc::default());
                press.press_all().expect("compressed");
            }
        }
        shelf
    }

    #[test]
    fn o11_the_last_lines_come_from_as_many_files_as_it_takes() {
        let folder = tempfile::tempdir().expect("a folder");
        let shelf = shelf(folder.path());
        let last = |count: usize, wish: &Wish| {
            let history = History::open(shelf.clone()).expect("opened");
            texts(&history.last(count, wish).expect("read").0)
        };
        let all = Wish::default();
        assert_eq!(last(3, &all), ["27", "28", "29"]);
        assert_eq!(last(25, &all).first().map(String::as_str), Some("05"));
        assert_eq!(last(99, &all).len(), 30);
        assert_eq!(last(0, &all), [""; 0]);
        let since = "2026-11-22T00:00:17.000Z".parse().expect("a time");
        let late = Wish { since, ..all.clone() };
        assert_eq!(last(99, &late).first().map(String::as_str), Some("17"));
        let grep = Wish { grep: regex_lite::Regex::new("5$").ok(), ..all };
        assert_eq!(last(2, &grep), ["15", "25"]);
        let history = History::open(shelf.clone()).expect("opened");
        let (lines, _) = history.all(&late).expect("read");
        let lines: Vec<_> = lines.collect::<io::Result<_>>().expect("read");
        assert_eq!(texts(&lines).len(), 13);
    }

    #[test]
    fn what_is_no_line_is_shown_and_what_has_no_end_yet_is_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let shelf = Shelf::new(folder.path(), "a");
        fs::write(shelf.current(), line(1, "x") + "torn\n" + &line(2, "y") + "2026").expect("ok");
        let history = History::open(shelf.clone()).expect("opened");
        let (lines, place) = history.last(9, &Wish::default()).expect("read");
        assert_eq!(texts(&lines), ["x", "torn", "y"]);
        assert_eq!(lines[1].line().map(|line| line.writer), Some("?"));
        let length = fs::metadata(shelf.current()).expect("there").len();
        assert_eq!(place.current.expect("there").offset, length - 4);
    }

    #[test]
    fn o11_lines_of_several_apps_come_by_time() {
        let of = |lines: &[(u32, &str)]| {
            let text = |(second, text): &(u32, &str)| {
                Ok(Text(line(*second, text).trim_end().as_bytes().to_vec()))
            };
            lines.iter().map(text).collect::<Vec<_>>().into_iter()
        };
        let apps = vec![
            ("a".to_owned(), of(&[(1, "a1"), (3, "a3"), (3, "a3b")])),
            ("b".to_owned(), of(&[(0, "b0"), (3, "b3"), (4, "b4")])),
        ];
        let merged: io::Result<Vec<_>> = merge(apps).map(|r| r.map(|(_, text)| text)).collect();
        let merged = texts(&merged.expect("read"));
        assert_eq!(merged, ["b0", "a1", "a3", "a3b", "b3", "b4"]);
    }
}
