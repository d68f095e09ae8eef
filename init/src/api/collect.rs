//! `GET /jobs/output`: the output of all jobs in one answer, for who collects it.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::StatusCode;
use init_wire::{Channel, OutputEvent};
use tokio::task::yield_now;

use super::answer::{Answer, Payload, typed};
use super::handover::Talk;
use crate::chronicle::{Life, Place};
use crate::clock::rfc3339;
use crate::output::{Losses, News, Outputs, StreamId};

/// Streams whose place is remembered, beyond those there are.
const MOST_FORGOTTEN: usize = 1024;

/// Everything from the position `from` on that is kept, and whatever comes if `follow`. A place in
/// another life is before all there is.
pub(super) fn answer(
    outputs: &Outputs,
    life: Life,
    from: Option<Place>,
    follow: bool,
    (talk, ends): (&Talk, impl Future<Output = ()> + Send + 'static),
) -> Answer {
    let outputs = outputs.clone();
    let until = if follow { u64::MAX } else { outputs.position() };
    // Who does not come back has missed nothing of what there was before.
    let told = if from.is_some() { 0 } else { outputs.gone() };
    let at = from.filter(|place| place.life == life).map_or(0, |place| place.seq);
    if follow {
        // He has what comes before.
        outputs.taken_until(at);
    }
    let (first, seen, begun, talk, owed) = (at, HashMap::new(), false, talk.clone(), Vec::new());
    let reader = Reader { outputs, life, first, at, until, told, seen, begun, talk, owed };
    let batches = stream::unfold(reader, async |mut reader| Some((reader.next().await?, reader)));
    // What has an end of its own comes to that.
    let payload =
        if follow { Payload::stream(batches.take_until(ends)) } else { Payload::stream(batches) };
    typed(StatusCode::OK, "application/x-ndjson", payload)
}

struct Reader {
    outputs: Outputs,
    life: Life,
    /// Where he has begun.
    first: u64,
    /// The position of what comes next.
    at: u64,
    /// Where he stops, if he does not follow.
    until: u64,
    /// The streams that have gone for good and that he has been told of, or need not be.
    told: u64,
    /// The offset of what comes next of each stream that something has come of.
    seen: HashMap<StreamId, u64>,
    begun: bool,
    talk: Talk,
    /// Jobs wait until he has so much of these streams.
    owed: Vec<(StreamId, u64)>,
}

impl Reader {
    async fn next(&mut self) -> Option<Bytes> {
        let outputs = self.outputs.clone();
        if !std::mem::replace(&mut self.begun, true) {
            // What is yet to come has no earlier place than the next byte.
            self.at = self.at.min(outputs.position());
            let mut text = Vec::new();
            write(
                &OutputEvent::Ready { position: self.at, life: self.life.to_string() },
                &mut text,
            );
            return Some(text.into());
        }
        if !self.owed.is_empty() {
            self.talk.clone().sent().await;
            for (id, end) in self.owed.drain(..) {
                outputs.taken(id, end);
            }
        }
        // There may be more without end.
        yield_now().await;
        loop {
            let more = outputs.watch_all().notified();
            if self.at >= self.until {
                return None;
            }
            let mut text = Vec::new();
            self.tell_losses(&mut text);
            let news = outputs.news(self.at);
            if news.is_empty() && !text.is_empty() {
                return Some(text.into());
            }
            if news.is_empty() && !self.follows() {
                return None;
            }
            if news.is_empty() {
                more.await;
                continue;
            }
            for news in news {
                let end = news.piece.mark.offset + news.piece.bytes.len() as u64;
                if self.follows() && outputs.waits(news.id) {
                    self.owed.push((news.id, end));
                }
                self.tell(news, &mut text);
            }
            if !self.owed.is_empty() {
                self.talk.owe();
            }
            if self.seen.len() > MOST_FORGOTTEN {
                let outputs = &self.outputs;
                self.seen.retain(|id, _| outputs.is_there(*id));
            }
            return Some(text.into());
        }
    }

    /// Whether he goes on without end. Jobs may wait for him then.
    fn follows(&self) -> bool {
        self.until == u64::MAX
    }

    /// Streams of cleared jobs may have gone before he came to their last bytes.
    fn tell_losses(&mut self, text: &mut Vec<u8>) {
        let told = std::mem::replace(&mut self.told, self.outputs.gone());
        if told == self.told {
            return;
        }
        let Losses { more, streams } = self.outputs.losses(told, self.at);
        if more {
            let nobody = OutputEvent::Missed { job: None, stream: None, offset: None, count: None };
            write(&nobody, text);
        }
        for gone in streams {
            let had = self.seen.remove(&gone.id).or_else(|| self.none_of(gone.first));
            let count = had.map(|had| gone.end - had);
            write(&missed(gone.job.to_string(), gone.channel, gone.end, count), text);
        }
    }

    /// That he has had no byte of a stream, all of which came after where he has begun.
    fn none_of(&self, first: Option<u64>) -> Option<u64> {
        first.filter(|first| *first >= self.first).map(|_| 0)
    }

    fn tell(&mut self, news: News, text: &mut Vec<u8>) {
        let News { id, job, channel: stream, piece, after_gap, first } = news;
        let (job, offset) = (job.to_string(), piece.mark.offset);
        let length = piece.bytes.len() as u64;
        let seen = self.seen.insert(id, offset + length);
        if after_gap {
            let count = seen.or_else(|| self.none_of(first)).map(|seen| offset - seen);
            write(&missed(job.clone(), stream, offset, count), text);
        }
        self.at = piece.mark.position + length;
        let time = rfc3339(SystemTime::UNIX_EPOCH + Duration::from_millis(piece.mark.millis));
        let (utf8, base64) = match String::from_utf8(piece.bytes) {
            Ok(utf8) => (Some(utf8), None),
            Err(other) => (None, Some(STANDARD.encode(other.as_bytes()))),
        };
        let position = self.at;
        write(
            &OutputEvent::Output { position, job, stream, offset, time, text: utf8, base64 },
            text,
        );
    }
}

fn missed(job: String, stream: Channel, offset: u64, count: Option<u64>) -> OutputEvent {
    OutputEvent::Missed { job: Some(job), stream: Some(stream), offset: Some(offset), count }
}

fn write(event: &OutputEvent, text: &mut Vec<u8>) {
    if serde_json::to_writer(&mut *text, event).is_ok() {
        text.push(b'\n');
    }
}
