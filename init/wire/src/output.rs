//! What is told of the output of jobs.

use serde::{Deserialize, Serialize};

use crate::Channel;

/// A line of `GET /job/{id}/stdout?format=json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LogLine {
    /// A line that the job has written.
    Line {
        /// Bytes of the stream before it.
        offset: u64,
        /// When its beginning came: RFC 3339 in UTC with milliseconds.
        time: String,
        /// Without its end. What is not UTF-8 has U+FFFD in its place.
        text: String,
        /// Whether the line goes on in the next object, because it is long, or not ended yet.
        #[serde(skip_serializing_if = "std::ops::Not::not", default)]
        partial: bool,
    },
    /// Bytes that were gone before this reader came to them.
    Missed {
        /// How many.
        missed: u64,
        /// Where the next line begins.
        offset: u64,
    },
}

/// A line of `GET /jobs/output`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum OutputEvent {
    /// The reader goes on from here.
    Ready {
        /// Bytes of all streams before what comes next.
        position: u64,
        /// In which life of init.
        life: String,
    },
    /// A job has written this.
    Output {
        /// What `from` is to be for whoever goes on after this.
        position: u64,
        /// The job.
        job: String,
        /// Which of its streams.
        stream: Channel,
        /// Bytes of this stream before it.
        offset: u64,
        /// When it came.
        time: String,
        /// The bytes, if they are UTF-8.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        text: Option<String>,
        /// The bytes in base64, if they are not.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        base64: Option<String>,
    },
    /// Bytes of this stream were gone before the reader came to them.
    Missed {
        /// The job; none if it is not known any more which ones there were.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        job: Option<String>,
        /// Which of its streams.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        stream: Option<Channel>,
        /// Where what comes next begins; if the job was cleared and nothing comes, where the stream ended.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        offset: Option<u64>,
        /// How many, if this reader has had what came before.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        count: Option<u64>,
    },
}
