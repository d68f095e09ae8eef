//! Every bound, and what happens when it is reached.

use std::time::Duration;

/// Jobs, ended ones included. One more is refused with 503 until some are cleared.
pub const MAX_JOBS: usize = 16_384;
/// Detached jobs whose processes live. One more is refused with 503.
pub const MAX_DETACHED: usize = 16_384;
/// Bytes of the specs of all jobs together. A further job is refused with 503.
pub const MAX_SPECS: usize = 256 * 1024 * 1024;
/// API connections of root and init's own user at once. Further ones wait in the kernel's queue.
pub const MAX_CONNECTIONS: usize = 512;
/// API connections of all other users at once. Further ones are refused with 503.
pub const CONNECTIONS_OF_OTHERS: usize = 128;
/// API connections of one other user at once. Further ones are refused with 503.
pub const CONNECTIONS_OF_A_USER: usize = 32;
/// Requests a second of one other user, in the long run. Further ones are refused with 429.
pub const RATE_OF_A_USER: f64 = 100.0;
/// Requests that he may send at once.
pub const BURST_OF_A_USER: f64 = 200.0;
/// Other users that are told apart at once. Connections of further ones are refused with 503.
pub const KNOWN_USERS: usize = 1024;
/// API connections that wait to be accepted; the kernel's `somaxconn` caps it.
pub const BACKLOG: i32 = 4096;
/// Connections accepted in a row, before all else that waits has a turn.
pub const ACCEPTED_IN_A_ROW: u32 = 16;
/// Connections being told 403 at once. Further ones are closed without a word.
pub const MAX_DENIED: usize = 64;
/// Bytes of a request body. A larger one is refused with 413.
pub const MAX_BODY: usize = 256 * 1024;
/// Bytes of a request head. A larger one is refused with 431.
pub const MAX_HEAD: usize = 16 * 1024;
/// How long a request head may take, from the connection's start or the answer before it. The
/// connection is closed then, so idle ones are, too.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request body may take. A slower one is refused with 408.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Events that a slow follower may lag behind before it is told that it missed some.
pub const MISSABLE_EVENTS: usize = 1024;
/// Bytes of these events. Older ones are forgotten.
pub const MISSABLE_BYTES: usize = 4 * 1024 * 1024;
/// Processes that are read for their figures in a row, before all else that waits has a turn.
pub const PROCESSES_IN_A_ROW: u32 = 16;
/// Bytes of a process whose share of memory is found out. Of a larger one it is not known.
pub const MAX_PSS: u64 = 1024 * 1024 * 1024;
/// How long a connection that is refused may take to read why.
pub const DENIED_TIMEOUT: Duration = Duration::from_secs(1);
/// The pause where the kernel fails init otherwise, so that it is not asked again without end.
pub const TROUBLE: Duration = Duration::from_millis(10);
/// The wait before accepting again when there is no descriptor or memory for a connection.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Bytes of all captured output together. From there on, streams keep 4 KiB each and no more than
/// they do.
pub const MAX_OUTPUT: usize = 256 * 1024 * 1024;
/// Bytes of the output of cleared jobs, for who follows all output. The longest cleared goes first.
pub const MAX_DEPARTED: usize = 4 * 1024 * 1024;
/// Cleared jobs' streams without output that are known by name, for who was behind. Of older ones he is
/// told only that there were some.
pub const MAX_GONE: usize = 1024;
/// How long what is written to a job waits for the job to read. Then the request is refused with 409,
/// and says how much was written.
pub const STALLED: Duration = Duration::from_secs(30);
