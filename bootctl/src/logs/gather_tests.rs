//! Whatever is written, and whenever the collector is killed: every byte once, and in order.

use proptest::prelude::*;

use super::super::line::parse;
use super::*;

const TIME: &str = "2026-11-22T00:40:07.123Z";

fn owner(job: &str) -> Owner {
    // The first two share a file.
    let app = if job == "2" { "b" } else { "a" };
    Owner { app: app.into(), writer: job.into() }
}

fn gatherer() -> Gatherer {
    let mut gatherer = Gatherer::default();
    gatherer.introduce("1", Some(owner("1")));
    gatherer
}

fn piece(position: u64, offset: u64, bytes: &[u8]) -> Piece<'_> {
    Piece { position, offset, time: TIME, bytes }
}

fn text(gatherer: &mut Gatherer) -> String {
    let page = gatherer.pages().remove("a").unwrap_or_default();
    String::from_utf8(page.text).expect("UTF-8").replace(TIME, "T")
}

#[test]
fn a_line_waits_for_its_end() {
    let (mut gatherer, now) = (gatherer(), Instant::now());
    gatherer.take("1", Channel::Stdout, piece(3, 0, b"one"), now);
    assert_eq!((text(&mut gatherer), gatherer.floor()), (String::new(), 0));
    assert_eq!(gatherer.deadline(), Some(now + PATIENCE));
    gatherer.take("1", Channel::Stdout, piece(9, 3, b"!\ntwo\n"), now);
    assert_eq!(text(&mut gatherer), "T 1 out one!\nT 1 out two\n");
    assert_eq!((gatherer.floor(), gatherer.deadline()), (9, None));
    gatherer.take("1", Channel::Stderr, piece(12, 0, b"$ ?"), now);
    gatherer.let_late_go(now + PATIENCE);
    assert_eq!((text(&mut gatherer), gatherer.floor()), ("T 1 err+ $ ?\n".into(), 12));
}

#[test]
fn z06_a_long_line_is_split_between_characters() {
    let mut gatherer = gatherer();
    let line = "ü".repeat(LONGEST) + "\n";
    let bytes = format!("x{line}");
    let length = bytes.len() as u64;
    gatherer.take("1", Channel::Stdout, piece(length, 0, bytes.as_bytes()), Instant::now());
    let text = text(&mut gatherer);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].starts_with("T 1 out+ xü") && lines[1].starts_with("T 1 out+ ü"));
    assert!(lines.iter().all(|line| line.len() <= LONGEST + 12));
}

#[test]
fn what_is_missing_is_said_where_it_is_missing() {
    let (mut gatherer, now) = (gatherer(), Instant::now());
    gatherer.take("1", Channel::Stdout, piece(3, 0, b"one"), now);
    gatherer.take("1", Channel::Stdout, piece(100, 96, b"two\n"), now);
    let lost = "bytes lost: init had no room to keep them until they were collected\n";
    assert_eq!(text(&mut gatherer), format!("T 1 out+ one\nT 1 out! 93 {lost}T 1 out two\n"));
    gatherer.miss("1", Channel::Stdout, 110, TIME);
    assert_eq!(text(&mut gatherer), format!("T 1 out! 10 {lost}"));
    gatherer.take("1", Channel::Stdout, piece(200, 110, b"x\n"), now);
    assert_eq!(text(&mut gatherer), "T 1 out x\n");
    // Cleared and started anew, and the beginning is gone.
    gatherer.miss("1", Channel::Stdout, 50, TIME);
    gatherer.take("1", Channel::Stdout, piece(300, 50, b"y\n"), now);
    assert_eq!(text(&mut gatherer), format!("T 1 out! 50 {lost}T 1 out y\n"));
    gatherer.take("1", Channel::Stdout, piece(302, 0, b"z\n"), now);
    assert_eq!(text(&mut gatherer), "T 1 out z\n", "and once more, with nothing missing");
    gatherer.take("1", Channel::Stdout, piece(400, 1 << 40, b"w\n"), now);
    assert!(text(&mut gatherer).starts_with("T 1 out! an unknown number of bytes lost"));
}

#[test]
fn what_was_there_before_anybody_asked_is_not_missing() {
    let (mut gatherer, now) = (gatherer(), Instant::now());
    gatherer.take("1", Channel::Stdout, piece(500, 400, b"y\n"), now);
    assert_eq!(text(&mut gatherer), "T 1 out y\n");
    gatherer.take("2", Channel::Stdout, piece(502, 0, b"y\n"), now);
    assert_eq!((text(&mut gatherer), gatherer.floor()), (String::new(), 502), "nobody's");
}

#[test]
fn what_is_held_back_is_bounded() {
    let (mut gatherer, now) = (Gatherer::default(), Instant::now());
    let bytes = vec![b'x'; LONGEST - 1];
    let mut position = 0;
    for job in 0..400 {
        let job = job.to_string();
        gatherer.introduce(&job, Some(owner(&job)));
        position += bytes.len() as u64;
        gatherer.take(&job, Channel::Stdout, piece(position, 0, &bytes), now);
        assert!(gatherer.held <= MOST_HELD);
    }
}

/// What a job writes at once, and to which of its streams; or that it is cleared.
#[derive(Clone, Debug)]
enum Deed {
    Write(usize, Channel, Vec<u8>),
    Clear(usize),
}

/// What the collector does after it has taken a piece.
#[derive(Clone, Copy, Debug)]
enum Fate {
    GoesOn,
    Writes,
    IsKilled,
    /// It is killed after it has written the first of several files.
    IsKilledHalfway,
    /// It runs out of patience.
    LetsGo,
}

fn deed() -> impl Strategy<Value = Deed> {
    let bytes = prop::collection::vec(
        prop_oneof![3 => Just(b'\n'), 8 => Just(b'x'), 1 => any::<u8>()],
        1..40,
    );
    let channel = prop_oneof![Just(Channel::Stdout), Just(Channel::Stderr)];
    prop_oneof![
        20 => (0..3_usize, channel, bytes).prop_map(|(j, c, b)| Deed::Write(j, c, b)),
        1 => (0..3_usize).prop_map(Deed::Clear),
    ]
}

fn fate() -> impl Strategy<Value = Fate> {
    use Fate::{GoesOn, IsKilled, IsKilledHalfway, LetsGo, Writes};
    prop_oneof![
        4 => Just(GoesOn),
        2 => Just(Writes),
        1 => Just(IsKilled),
        1 => Just(IsKilledHalfway),
        1 => Just(LetsGo),
    ]
}

proptest! {
    // Each has a hundred deeds.
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn o12_whenever_it_is_killed_every_byte_is_there_once(
        deeds in prop::collection::vec((deed(), fate()), 1..120),
    ) {
        // All that init has: place, job, channel, offset, bytes.
        let mut all: Vec<(u64, String, Channel, u64, Vec<u8>)> = Vec::new();
        let mut offsets: BTreeMap<(usize, Channel), u64> = BTreeMap::new();
        let mut wanted: BTreeMap<(String, Channel), Vec<u8>> = BTreeMap::new();
        let (mut position, mut file) = (0, Vec::new());
        let mut written: BTreeMap<StreamKey, (Owner, Mark)> = BTreeMap::new();
        let (mut floor, mut taken) = (0, 0);
        let fresh = |floor: u64, written: &BTreeMap<StreamKey, (Owner, Mark)>| {
            let streams = written.iter().map(|(k, (o, m))| (k.clone(), o.clone(), *m));
            let mut gatherer = Gatherer::at(floor, streams);
            (0..3).for_each(|job| gatherer.introduce(&job.to_string(), Some(owner(&job.to_string()))));
            gatherer
        };
        let mut gatherer = fresh(0, &written);
        let now = Instant::now();
        for (deed, fate) in deeds {
            match deed {
                Deed::Clear(job) => offsets.retain(|(other, _), _| *other != job),
                Deed::Write(job, channel, bytes) => {
                    let offset = offsets.entry((job, channel)).or_default();
                    position += bytes.len() as u64;
                    let name = job.to_string();
                    wanted.entry((name.clone(), channel)).or_default().extend(&bytes);
                    all.push((position, name, channel, *offset, bytes.clone()));
                    *offset += bytes.len() as u64;
                }
            }
            // init begins in the middle of a piece if it is told to.
            let first = all.partition_point(|(end, ..)| *end <= taken);
            for (end, job, channel, offset, bytes) in &all[first..] {
                let begin = end - bytes.len() as u64;
                if *end > taken {
                    let skip = usize::try_from(taken.saturating_sub(begin)).expect("small");
                    let piece = piece(*end, offset + skip as u64, &bytes[skip..]);
                    gatherer.take(job, *channel, piece, now);
                }
            }
            taken = position;
            match fate {
                Fate::GoesOn => {}
                Fate::LetsGo => gatherer.let_everything_go(),
                Fate::Writes | Fate::IsKilledHalfway => {
                    let is_killed = matches!(fate, Fate::IsKilledHalfway);
                    let after = gatherer.floor();
                    let pages = gatherer.pages();
                    let all = if is_killed { 1 } else { pages.len() };
                    for (_, page) in pages.into_iter().take(all) {
                        file.extend(page.text);
                        for (key, mark) in page.marks {
                            written.insert(key.clone(), (owner(&key.job), mark));
                        }
                    }
                    if is_killed {
                        gatherer = fresh(floor, &written);
                        taken = floor;
                    } else {
                        floor = after;
                    }
                }
                Fate::IsKilled => {
                    gatherer = fresh(floor, &written);
                    taken = floor;
                }
            }
        }
        gatherer.let_everything_go();
        for (end, job, channel, offset, bytes) in &all {
            let begin = end - bytes.len() as u64;
            if *end > taken {
                let skip = usize::try_from(taken.saturating_sub(begin)).expect("small");
                gatherer.take(job, *channel, piece(*end, offset + skip as u64, &bytes[skip..]), now);
            }
        }
        gatherer.let_everything_go();
        gatherer.pages().into_values().for_each(|page| file.extend(page.text));
        let mut got: BTreeMap<(String, Channel), Vec<u8>> = BTreeMap::new();
        for line in file.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let line = parse(line).expect("a line");
            let text = got.entry((line.writer.to_owned(), line.channel)).or_default();
            text.extend_from_slice(&line.text);
            match line.kind {
                Kind::Whole => text.push(b'\n'),
                Kind::Part => {}
                Kind::Note => panic!("nothing is missing: {line:?}"),
            }
        }
        prop_assert_eq!(got, wanted);
    }
}
