//! Every bound of the data path, and what happens at it.

use std::time::Duration;

/// The head of a request, start line and fields: more is 431. The head of a response: 502.
pub(crate) const HEAD: usize = 32 * 1024;
/// The target in the request line: more is 414.
pub(crate) const TARGET: usize = 8 * 1024;
/// Fields in one head, and fields that its `Connection` names: more is 431, behind us 502.
pub(crate) const FIELDS: usize = 128;
/// Bytes of chunk extensions in one body: more is 400, behind us a cut.
pub(crate) const CHUNK_EXTENSIONS: usize = 4 * 1024;
/// Bytes of trailer fields after one body: more is 400, behind us a cut. So is it with more than
/// `FIELDS` of them.
pub(crate) const TRAILERS: usize = 8 * 1024;
/// Interim answers (1xx) to one request: more is 502.
pub(crate) const INTERIM: u32 = 16;
/// The body of a request: more is 413. None, since no more than a buffer of it is ever held.
pub(crate) const BODY: u64 = u64::MAX;
/// What a request's head is read with at first; it grows up to the bound above.
pub(crate) const HEAD_FIRST: usize = 4 * 1024;
/// What an answer is read with, and a request's body once it does not fit beside its head.
pub(crate) const BODY_BUFFER: usize = 256 * 1024;
/// A body up to this size is copied behind its head, so that both are one plain write.
pub(crate) const COALESCE: usize = 16 * 1024;
/// What a pipe between two sockets holds, where so much is allowed. A larger one is dearer: whoever is given a whole
/// MiB at once goes to sleep before the next, and has to be woken.
pub(crate) const PIPE: usize = 256 * 1024;
/// A body of known length that has so much left goes through a pipe, too; a shorter one is copied.
pub(crate) const PASSED: u64 = 64 * 1024;
/// What an answer is read with at first: what follows of a large one need not be copied.
pub(crate) const ANSWER_FIRST: usize = 64 * 1024;
/// A tunnel that brings so much at once is a large transfer: its bytes go through a pipe from then on.
pub(crate) const BULK: usize = 64 * 1024;
/// And one that brings less than that at once is none any more.
pub(crate) const BULK_END: usize = 4 * 1024;
/// Pipes of a worker: whoever finds none copies.
pub(crate) const PIPES: usize = 64;
/// Pipes that a worker keeps for reuse; more are closed.
pub(crate) const SPARE_PIPES: usize = 8;
/// Buffers of each kind that a worker keeps for reuse; more are freed.
pub(crate) const SPARE_BUFFERS: usize = 64;
/// The same of what requests wait in: how many do so at once goes up and down, and each is small.
pub(crate) const SPARE_PLACES: usize = 1024;
/// As large as a request may be whose memory is kept.
pub(crate) const ROOM: usize = 2 * 1024;

/// A header of the PROXY protocol: a longer one ends the connection.
pub(crate) const PROXY_HEADER: usize = 4 * 1024;

/// Clients over all workers: beyond, nothing is accepted and new ones wait in the backlog.
pub(crate) const CONNECTIONS: usize = 60_000;
/// Descriptors that requests leave to the process, so that it can be told what is wanted, and to each
/// worker: beyond, a connection to a target is refused with 503.
pub(crate) const OWN_DESCRIPTORS: usize = 26;
pub(crate) const WORKER_DESCRIPTORS: usize = 6;
/// Clients of one address, or of one IPv6 network: more are answered with 429 and closed.
pub(crate) const CONNECTIONS_PER_CLIENT: u32 = 15_000;
/// Connections that wait for being accepted, on a socket of our own: the kernel drops what is beyond,
/// and its client tries again.
pub(crate) const BACKLOG: i32 = 4096;
/// How long accepting rests when the limit above or the table of files is full, or the listener is broken.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What ends at a time ends at the first tick behind it: ends that are close to each other are one event.
pub(crate) const TICK: Duration = Duration::from_millis(4);

/// A client that asks as soon as it is let in is taken to wait for its answer for so long: whether it has gone
/// is looked at only from then on.
pub(crate) const UNWATCHED_TIME: Duration = Duration::from_millis(20);

/// From the start until what only a start needs is let go of.
pub(crate) const THRIFT: Duration = Duration::from_millis(300);

/// From the first byte of a head to its last: more is 408.
pub(crate) const HEAD_TIME: Duration = Duration::from_secs(10);
/// A client that sends nothing between two requests is let go.
pub(crate) const IDLE_TIME: Duration = Duration::from_mins(1);
/// The same while there are as many clients as may be: there is somebody else who wants the place.
pub(crate) const CROWDED_IDLE_TIME: Duration = Duration::from_secs(5);
/// The same while draining, once there is no target that a request could go to.
pub(crate) const DRAINING_IDLE_TIME: Duration = Duration::from_secs(2);
/// One side sends or takes no byte of a body: 408 before the answer began, else a cut.
pub(crate) const BODY_TIME: Duration = Duration::from_mins(1);
/// Bytes a second of a body that a client sends or takes while it is waited for: fewer are 408 before
/// the answer began, else a cut.
pub(crate) const BODY_RATE: u64 = 100;
/// The same of a request's body without a length: nobody is judged unless a setting says so. Whoever
/// sends a stream says something when there is something to say.
pub(crate) const STREAM_RATE: u64 = 0;
/// How long a client is waited for until its rate is judged.
pub(crate) const RATE_WINDOW: Duration = Duration::from_mins(1);
/// A connection to a target is made: more counts as refused; 504 if no other takes it.
pub(crate) const CONNECT_TIME: Duration = Duration::from_secs(3);
/// Between two looks whether a unix socket's backlog has room; bounded by the time above.
pub(crate) const BACKLOG_PAUSE: Duration = Duration::from_millis(5);
/// From the request to the head of its answer: more is 504.
pub(crate) const ANSWER_TIME: Duration = Duration::from_mins(1);
/// An upgraded connection without a byte in either direction is closed.
pub(crate) const TUNNEL_TIME: Duration = Duration::from_hours(1);
/// How long streams of a retired target go on, unless its service or whoever retires it says otherwise.
pub(crate) const STREAM_GRACE: Duration = Duration::from_secs(30);
/// Both ends of a `WebSocket` that we close have so long to agree: then it is cut.
pub(crate) const CLOSE_TIME: Duration = Duration::from_secs(2);
/// The longest time that a setting may be: more is refused on the control API.
pub(crate) const LONGEST_TIME: Duration = Duration::from_hours(7 * 24);
/// The highest rate that a setting may be: more is refused on the control API.
pub(crate) const HIGHEST_RATE: u64 = 1 << 30;
/// After an early end, what the client still sends is thrown away for so long, so that the
/// answer is not lost to a reset.
pub(crate) const LINGER_TIME: Duration = Duration::from_secs(1);

/// Between two looks for connections to targets that were idle too long, and are closed then.
pub(crate) const POOL_LOOK: Duration = Duration::from_secs(1);
/// An app that closes idle connections after a time is left this much of it.
pub(crate) const POOL_MARGIN: Duration = Duration::from_secs(1);
/// Between two looks of who waits for the time of an ejected target.
pub(crate) const TRIAL_PAUSE: Duration = Duration::from_millis(10);
/// What `Retry-After` says when a service has no target, in seconds.
pub(crate) const RETRY_AFTER: &str = "1";

/// Bytes of log lines that a worker collects before it hands them over.
pub(crate) const LOG_BATCH: usize = 64 * 1024;
/// How long a log line may wait in its worker.
pub(crate) const LOG_DELAY: Duration = Duration::from_millis(200);
/// Batches that wait for the disk: beyond, lines are dropped and counted.
pub(crate) const LOG_QUEUE: usize = 64;
/// Of those that were written, so many keep their memory for others.
pub(crate) const SPARE_LOG_BATCHES: usize = 4;

/// A body sent to the control API: more is 413.
pub(crate) const CONTROL_BODY: usize = 64 * 1024;
/// Routes, services, and targets a service: more is 409 on the control API.
pub(crate) const OBJECTS: usize = 10_000;
/// How long a change waits until each worker has seen it.
pub(crate) const CHANGE_SEEN_TIME: Duration = Duration::from_secs(1);

/// Connections on listeners of `--monitor`, to each: more wait in the backlog.
pub(crate) const WATCHERS: usize = 64;
/// From such a connection to the end of its one answer: then it is closed.
pub(crate) const WATCHER_TIME: Duration = Duration::from_secs(5);

/// Changes to the fields of one kind of head: more is 400 on the control API.
pub(crate) const EDITS: usize = 64;
/// The value that a route sets or adds: more is 400 on the control API.
pub(crate) const EDIT_VALUE: usize = 4 * 1024;
/// Networks in each list of a route: more is 400 on the control API.
pub(crate) const NETWORKS: usize = 1_000;
/// Users of a route: more is 400 on the control API.
pub(crate) const USERS: usize = 1_000;
/// The cost of a bcrypt hash, which doubles the time with each step: more is 400 on the control API.
pub(crate) const HASH_COST: u32 = 14;
/// Passwords that are checked at the same time, over all workers: more wait.
pub(crate) const PASSWORD_CHECKS: usize = 2;
/// Requests that wait for their password to be checked: more are 503.
pub(crate) const PASSWORD_QUEUE: usize = 64;
/// Parts that the counters of a rate limit are in, each with a lock of its own.
pub(crate) const RATE_PARTS: usize = 16;
/// Clients that one part counts, so 65,536 a route, in at most 3 MiB: beyond, those who may come at
/// once are forgotten, and of the others the quarter that came longest ago.
pub(crate) const RATE_CLIENTS: usize = 4_096;
/// An error page: more is 400 on the control API.
pub(crate) const ERROR_PAGE: usize = 64 * 1024;
/// Error pages of a route: more is 400 on the control API.
pub(crate) const ERROR_PAGES: usize = 64;
/// The body of `PUT /config`, the config file and the snapshot: more is 413, or refused as a whole.
pub(crate) const CONFIG: usize = 64 * 1024 * 1024;
/// From a change to the snapshot of it: what comes in between is in the same one.
pub(crate) const SNAPSHOT_DELAY: Duration = Duration::from_millis(50);
/// Until a snapshot that could not be written is tried again.
pub(crate) const SNAPSHOT_RETRY: Duration = Duration::from_secs(5);
/// Mistakes that are told of one config file: more are not looked for.
pub(crate) const MISTAKES: usize = 100;

/// From the first byte of a connection on a TLS listener to the end of its handshake: more is its end.
pub(crate) const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Bytes of a handshake that are not whole messages yet: more is its end.
pub(crate) const HANDSHAKE: usize = 64 * 1024;
/// What is read of a TLS connection at a time.
pub(crate) const TLS_READ: usize = 64 * 1024;
/// What is sealed and written to it at a time.
pub(crate) const TLS_WRITE: usize = 128 * 1024;
/// Chain, key, or certificates of those who vouch for clients, in a file: more is refused.
pub(crate) const PEM: usize = 1024 * 1024;
/// Files of certificates are read once nothing has moved beside them for so long.
pub(crate) const CERTIFICATE_CALM: Duration = Duration::from_millis(200);
/// And at the latest so long after something has: others may write there without end.
pub(crate) const CERTIFICATE_STIR: Duration = Duration::from_secs(2);
/// Until folders of certificates that are not there are looked for again.
pub(crate) const CERTIFICATE_RETRY: Duration = Duration::from_secs(5);
/// How long tickets are sealed with one key; they are taken for at most twice as long.
pub(crate) const TICKET_PERIOD: Duration = Duration::from_hours(12);
/// The oldest secret that keys of tickets may be made from: an older one is 400 on the control API.
pub(crate) const TICKET_SECRET_AGE: Duration = Duration::from_hours(10 * 365 * 24);

/// Streams of one HTTP/2 connection at a time, unless a setting says otherwise: more are refused.
pub(crate) const H2_STREAMS: u32 = 100;
/// The highest that this setting may be: more is refused on the control API.
pub(crate) const H2_MOST_STREAMS: u32 = 1_000;
/// The head of a stream as its fields are counted there, which is more than its bytes: up to this it is
/// held to `HEAD`, beyond it is 431 without a line in the log, and at four times of it the connection ends.
/// With it come the frames that one head may be in: a few more end the connection.
pub(crate) const H2_HEAD: u32 = 48 * 1024;
/// Bytes of a request's body that are held for who takes them, and of all bodies of one connection: no
/// more is granted. Of data in frames so small that they cost more than they hold, half as much ends the
/// connection.
pub(crate) const H2_STREAM_WINDOW: u32 = 256 * 1024;
pub(crate) const H2_WINDOW: u32 = 1024 * 1024;
/// Bytes of an answer that wait for their turn on the connection: more are not taken from the target.
pub(crate) const H2_SEND_BUFFER: usize = 64 * 1024;
/// Streams that we have reset and whose last frames may still come: older ones are forgotten.
pub(crate) const H2_RESET_STREAMS: usize = 50;
/// Streams of a connection that the client has us reset, by what it does wrong: more end it.
pub(crate) const H2_MADE_RESETS: usize = 128;
/// Frames of a connection that bring no request nearer, at once and a second: more end it. A request
/// that is cancelled counts as four.
pub(crate) const H2_PATIENCE: u32 = 1_000;
pub(crate) const H2_PATIENCE_RATE: u32 = 100;
/// Bytes that a client takes and that are worth one such frame more.
pub(crate) const H2_BYTES_A_FRAME: u32 = 512;
/// Requests on one connection to a target that speaks HTTP/2, if it takes as many: for more there is
/// another connection.
pub(crate) const H2_TRUNK_STREAMS: usize = 100;
/// Bytes of an answer on such a connection that are held for a client who takes them slowly. The window of the connection
/// is that of all of them: else a few slow clients would stop all others.
pub(crate) const H2_TRUNK_STREAM_WINDOW: u32 = 64 * 1024;
pub(crate) const H2_TRUNK_WINDOW: u32 = 100 * H2_TRUNK_STREAM_WINDOW;
/// What short frames of targets that nobody has taken yet may cost, by the library's account, which takes a frame to be worth
/// 256 bytes: a window full of frames of ten bytes. Beyond, the connection ends with all that is asked on it.
pub(crate) const H2_TRUNK_FRAMES: usize = H2_TRUNK_WINDOW as usize / 10 * 256;
const _: () =
    assert!(H2_TRUNK_WINDOW as usize == H2_TRUNK_STREAMS * H2_TRUNK_STREAM_WINDOW as usize);

/// The body of an answer that is compressed, where its length is known: a shorter one is not worth it.
pub(crate) const COMPRESSED: u64 = 1024;
/// Levels of compression: beyond these a worker would be slower than most clients' lines.
pub(crate) const ZSTD_LEVEL: i32 = 3;
pub(crate) const BROTLI_LEVEL: u32 = 4;
pub(crate) const GZIP_LEVEL: u32 = 5;
/// What zstd and brotli look back, as a power of two, and the tables that zstd finds it by: with them an encoder is at most
/// some 1.5 MiB. One of gzip is some 300 KiB.
pub(crate) const WINDOW: u32 = 17;
pub(crate) const ZSTD_TABLE: u32 = 16;
/// Encoders of a worker: an answer that finds none left is sent as it is.
pub(crate) const ENCODERS: usize = 128;
/// What has come out of an encoder is sent once it is so much, or when there is nothing to go on with.
pub(crate) const ENCODED: usize = 16 * 1024;
/// For what there is to go on with the rest is waited for: then what the encoder holds back is sent.
pub(crate) const ENCODER_PAUSE: Duration = Duration::from_millis(5);
/// Types that a route has compressed: more is 400 on the control API.
pub(crate) const TYPES: usize = 100;

/// A file that is sent with its head in one write; of a longer one the kernel sends the rest by itself, where it can.
pub(crate) const SMALL_FILE: usize = 12 * 1024;
/// What is sent of a file at a time, before others have their turn.
pub(crate) const FILE_PIECE: usize = 1 << 20;
/// The name of a file below its folder: a longer one is not there.
pub(crate) const FILE_NAME: usize = 4096;

/// Authorities that certificates are obtained from: more are 400 on the control API.
pub(crate) const ACME_AUTHORITIES: usize = 16;
/// Names of one such certificate: more are 400 on the control API, and more than authorities take.
pub(crate) const ACME_NAMES: usize = 100;
/// Certificates that are obtained at a time: more wait.
pub(crate) const ACME_ORDERS: usize = 4;
/// From a request to an authority to the end of its answer: more counts as none.
pub(crate) const ACME_ANSWER_TIME: Duration = Duration::from_secs(30);
/// The answer: more counts as none.
pub(crate) const ACME_ANSWER: usize = 1024 * 1024;
/// What is kept of a certificate or an account: more is refused.
pub(crate) const ACME_RECORD: usize = 4 * 1024 * 1024;
/// An authority looks at proofs, or makes a certificate, in this time: more is a failure.
pub(crate) const ACME_PROOF_TIME: Duration = Duration::from_mins(2);
/// Whoever places records has so long: more is a failure.
pub(crate) const ACME_RECORD_TIME: Duration = Duration::from_mins(10);
/// From the beginning of an order to its end: more is a failure.
pub(crate) const ACME_ORDER_TIME: Duration = Duration::from_mins(20);
/// Times that an order goes on after the authority has refused three nonces: then it is a failure.
pub(crate) const ACME_NONCES: usize = 8;
/// A look whether a name resolves, and whether we answer for it.
pub(crate) const ACME_LOOK_TIME: Duration = Duration::from_secs(5);
/// Between two looks of who waits for another process to leave the folder to it, or for the folder to be well.
pub(crate) const ACME_LOCK_LOOK: Duration = Duration::from_secs(1);
/// Certificates that such a one reads of another process with each look: of more only with every second or third.
pub(crate) const ACME_READ: usize = 200;
/// Between two looks at a clock that may be set: times of certificates are by the calendar.
pub(crate) const ACME_CLOCK_LOOK: Duration = Duration::from_hours(1);
/// How long `GET /acme?after=…` may wait for news.
pub(crate) const ACME_NEWS_TIME: Duration = Duration::from_mins(1);
/// What a worker takes from the kernel of what has come, at a time.
pub(crate) const EVENTS: usize = 1024;
/// How many clients are told that something has come before a worker looks again what targets have said.
pub(crate) const TURN: usize = 16;
