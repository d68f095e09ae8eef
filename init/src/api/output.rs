//! `GET /job/{id}/stdout` and `/stderr`: what is kept of a job's output, and what comes.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use init_wire::{Channel, LogLine};
use tokio::sync::Notify;
use tokio::task::yield_now;

use super::answer::{Answer, Payload, Refused, empty, typed};
use super::handover::Talk;
use super::lines::Lines;
use crate::id::JobId;
use crate::output::ring::LEAST;
use crate::output::{Next, Outputs, Standing, StreamId};

/// Where the answer begins.
const FROM: HeaderName = HeaderName::from_static("output-from");
/// The offset of the oldest byte that is kept, and the one after the newest.
const START: HeaderName = HeaderName::from_static("output-start");
const END: HeaderName = HeaderName::from_static("output-end");

/// Bytes of a stream sent at once.
const A_PIECE: usize = 64 * 1024;
/// The same where each line becomes an object of its own.
const A_PIECE_OF_LINES: usize = 4096;
/// Bytes that are copied for one answer. What is more is sent bit by bit, or in parts.
const AT_ONCE: u64 = 256 * 1024;

/// What of a stream is asked for.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// From this offset on.
    pub from: Option<u64>,
    /// The last so many lines.
    pub tail: Option<usize>,
    /// And whatever comes.
    pub follow: bool,
    /// A JSON object a line.
    pub json: bool,
}

/// Answers with what is wanted of the stream, as far as it is kept.
pub(super) fn answer(
    outputs: &Outputs,
    (job, channel): (&JobId, Channel),
    wanted: &Wanted,
    headers: &HeaderMap,
    (talk, ends): (&Talk, impl Future<Output = ()> + Send + 'static),
) -> Result<Answer, Refused> {
    let Some(standing) = outputs.find(job, channel) else {
        let stream = if channel == Channel::Stdout { "stdout" } else { "stderr" };
        let message = format!(
            "the {stream} of job `{job}` is not kept; its spec must say \"{stream}\": \"log\""
        );
        return Err(Refused::new(StatusCode::NOT_FOUND, "not_kept", message));
    };
    let Standing { id, start, end } = standing;
    let is_plain = wanted.from.is_none() && wanted.tail.is_none() && !wanted.json;
    let range = headers.get(header::RANGE).filter(|_| is_plain && !wanted.follow);
    let range = range.and_then(|range| Range::parse(range.to_str().ok()?));
    let mut answer = if let Some(range) = range {
        part(outputs, standing, range)
    } else {
        let from = match wanted.tail {
            Some(lines) => outputs.tail(id, lines),
            None => wanted.from.unwrap_or(start),
        };
        let until = if wanted.follow { u64::MAX } else { end };
        let mut answer = whole(outputs, standing, (from, until), wanted, (talk, ends));
        answer.headers_mut().insert(FROM, from.into());
        answer
    };
    let headers = answer.headers_mut();
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(START, start.into());
    headers.insert(END, end.into());
    Ok(answer)
}

fn whole(
    outputs: &Outputs,
    Standing { id, start, .. }: Standing,
    (from, until): (u64, u64),
    wanted: &Wanted,
    (talk, ends): (&Talk, impl Future<Output = ()> + Send + 'static),
) -> Answer {
    const TEXT: &str = "text/plain; charset=utf-8";
    const JSON: &str = "application/x-ndjson";
    if !wanted.follow && !wanted.json && until.saturating_sub(from) <= AT_ONCE {
        let missed = start.min(until).saturating_sub(from);
        let mut text = if missed > 0 { mark(missed).into_bytes() } else { Vec::new() };
        text.extend(outputs.bytes(id, from, until));
        return typed(StatusCode::OK, TEXT, text.into());
    }
    let (outputs, news) = (outputs.clone(), outputs.watch(id));
    let lines = wanted.json.then(Lines::default);
    if wanted.follow && wanted.from.is_some() {
        // He has what comes before.
        outputs.taken(id, from);
    }
    let (follows, owes) = (wanted.follow, false);
    let talk_of_reader = talk.clone();
    let reader =
        Reader { outputs, news, id, at: from, until, lines, talk: talk_of_reader, follows, owes };
    let pieces = stream::unfold(reader, async |mut reader| Some((reader.next().await?, reader)));
    let media_type = if wanted.json { JSON } else { TEXT };
    let payload = if wanted.follow {
        // It ends with the job; any other end must not look like that.
        Payload::breaking(pieces, ends, talk.clone().sent())
    } else {
        Payload::stream(pieces)
    };
    typed(StatusCode::OK, media_type, payload)
}

/// Who reads a stream to its end, or on and on.
struct Reader {
    outputs: Outputs,
    news: Arc<Notify>,
    id: StreamId,
    at: u64,
    /// Where he stops.
    until: u64,
    /// Lines in the making, if he wants these.
    lines: Option<Lines>,
    talk: Talk,
    /// Jobs may wait for him.
    follows: bool,
    /// The job waits until he has what was read last.
    owes: bool,
}

impl Reader {
    /// How far he has been sent what was read. What is held back of a line that has no end yet is not,
    /// unless the ring may have no room for more then.
    fn sent(&self) -> u64 {
        let held = self.lines.as_ref().map_or(0, Lines::held);
        self.at - if held < LEAST as u64 / 2 { held } else { 0 }
    }

    async fn next(&mut self) -> Option<Bytes> {
        let news = Arc::clone(&self.news);
        // There may be more without end.
        yield_now().await;
        if std::mem::take(&mut self.owes) {
            self.talk.clone().sent().await;
            self.outputs.taken(self.id, self.sent());
        }
        let most = if self.lines.is_some() { A_PIECE_OF_LINES } else { A_PIECE };
        loop {
            let more = news.notified();
            let next = if self.at < self.until {
                self.outputs.next(self.id, self.at, most)
            } else {
                Next::Ended
            };
            match next {
                Next::Piece(mut piece) => {
                    let missed = piece.mark.offset - self.at;
                    let most = usize::try_from(self.until - piece.mark.offset.min(self.until));
                    piece.bytes.truncate(most.unwrap_or(usize::MAX));
                    self.at = piece.mark.offset + piece.bytes.len() as u64;
                    let found = match &mut self.lines {
                        Some(lines) => lines.add(&piece, missed),
                        None if missed == 0 => piece.bytes,
                        None => [mark(missed).into_bytes(), piece.bytes].concat(),
                    };
                    if !found.is_empty() {
                        self.owes = self.follows && self.outputs.waits(self.id);
                        if self.owes {
                            self.talk.owe();
                        }
                        return Some(found.into());
                    }
                    if self.follows {
                        self.outputs.taken(self.id, self.sent());
                    }
                }
                Next::Later => more.await,
                Next::Ended => {
                    let rest = self.lines.take()?.rest();
                    return Some(rest.into()).filter(|rest: &Bytes| !rest.is_empty());
                }
            }
        }
    }
}

/// What stands for bytes that are gone, where there is nothing but text.
fn mark(missed: u64) -> String {
    format!("\n[init: {missed} bytes were not kept]\n")
}

/// One object of lines.
pub(super) fn line(line: &LogLine, to: &mut Vec<u8>) {
    if serde_json::to_writer(&mut *to, line).is_ok() {
        to.push(b'\n');
    }
}

/// What a `Range` header asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Range {
    From(u64),
    Between(u64, u64),
    Last(u64),
}

impl Range {
    /// One range in bytes; anything else is as if it were not there.
    fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.trim().strip_prefix("bytes=")?.split_once('-')?;
        match (first.trim(), last.trim()) {
            ("", last) => Some(Self::Last(last.parse().ok()?)),
            (first, "") => Some(Self::From(first.parse().ok()?)),
            (first, last) => {
                let (first, last) = (first.parse().ok()?, last.parse().ok()?);
                (first <= last).then_some(Self::Between(first, last))
            }
        }
    }
}

fn part(outputs: &Outputs, standing: Standing, range: Range) -> Answer {
    let Standing { id, start, end } = standing;
    let (first, until) = match range {
        Range::From(first) => (first, end),
        Range::Between(first, last) => (first, end.min(last.saturating_add(1))),
        Range::Last(count) => (end.saturating_sub(count).max(start), end),
    };
    let (mut answer, range) = if (start..until).contains(&first) {
        let until = until.min(first + AT_ONCE);
        let bytes = outputs.bytes(id, first, until);
        let answer = typed(StatusCode::PARTIAL_CONTENT, "text/plain; charset=utf-8", bytes.into());
        (answer, format!("bytes {first}-{}/{end}", until - 1))
    } else if start == end {
        (empty(StatusCode::RANGE_NOT_SATISFIABLE), format!("bytes */{end}"))
    } else {
        let message = format!("the bytes {start} to {} are kept", end - 1);
        let refused = Refused::new(StatusCode::RANGE_NOT_SATISFIABLE, "not_kept", message);
        (refused.into_answer(), format!("bytes */{end}"))
    };
    if let Ok(range) = HeaderValue::try_from(range) {
        answer.headers_mut().insert(header::CONTENT_RANGE, range);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b22_ranges_are_read_as_http_has_them() {
        assert_eq!(Range::parse("bytes=0-"), Some(Range::From(0)));
        assert_eq!(Range::parse("bytes=5-9"), Some(Range::Between(5, 9)));
        assert_eq!(Range::parse("bytes=-7"), Some(Range::Last(7)));
        for odd in ["", "bytes", "bytes=", "bytes=-", "bytes=9-5", "bytes=0-1,3-4", "lines=0-"] {
            assert_eq!(Range::parse(odd), None, "{odd}");
        }
    }
}
