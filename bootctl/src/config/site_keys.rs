//! The keys of `[proxy]` in `apps/NAME.toml`.

use std::time::Duration;

use super::schema::Kind::{Choice, Flag, Networks, Text, Texts, Whole};
use super::schema::{Key, Kind, Least, key, seconds, secret, up_to};

/// The body of a request.
pub(super) const BODY: Kind = Kind::Size { least: 0, most: 1 << 60 };
/// Bytes a second.
pub(super) const RATE: Kind = Kind::Size { least: 0, most: 1 << 40 };
const MOST_REQUESTS: i64 = 1_000_000_000;
pub(super) const HOUR: Duration = Duration::from_hours(1);
pub(super) const DAY: Duration = Duration::from_hours(24);
pub(super) const WEEK: Duration = Duration::from_hours(24 * 7);

pub(super) const SITE: &[Key] = &[
    key(
        "proxy.mount",
        Texts,
        "[]",
        "[\"www.example/shop\"]",
        "Further places that lead to it: a host and the beginning of a path. The host may be another \
         app's.",
    ),
    key(
        "proxy.strip_prefix",
        Flag,
        "false",
        "true",
        "Whether it is asked without the beginning of the path that a mount has.",
    ),
    key(
        "proxy.rewrite",
        Text,
        "",
        "\"/v2\"",
        "The path that it is asked for instead of the beginning that a mount has.",
    ),
    key(
        "proxy.fallback",
        Text,
        "",
        "\"/index.html\"",
        "The file that is shown, with 200, in place of one of `[files]` that is not there: a path below its \
         folder.",
    ),
    key(
        "proxy.not_found",
        Text,
        "",
        "\"/404.html\"",
        "The file that is shown, with 404, in place of one of `[files]` that is not there.",
    ),
    key(
        "proxy.compress",
        Flag,
        "false",
        "true",
        "Whether answers are compressed for clients that take them so. Not for pages that show a secret \
         beside what a stranger may put there.",
    ),
    key(
        "proxy.compress_types",
        Texts,
        "[]",
        "[\"text/*\", \"application/json\"]",
        "Which types of content; without, text, code, data and fonts that are not packed.",
    ),
    key(
        "proxy.redirect_status",
        Whole { least: 301, most: 308 },
        "308",
        "301",
        "The status of redirects. 307 and 308 keep method and body.",
    ),
    key(
        "proxy.force_https",
        Flag,
        "false",
        "true",
        "The same as `tls.redirect = true`, also where nothing but a trusted proxy in front speaks TLS: it says who came by \
         https.",
    ),
    key(
        "proxy.protocol",
        Choice(&["http1", "h2c"]),
        "\"http1\"",
        "\"h2c\"",
        "What is spoken with its instances: `h2c` is HTTP/2 without TLS, as gRPC has it.",
    ),
    key(
        "proxy.request_headers.set.*",
        Text,
        "",
        "\"yes\"",
        "A field of requests that has this value and no other.",
    ),
    key(
        "proxy.request_headers.add.*",
        Text,
        "",
        "\"yes\"",
        "A field that requests have in addition to those that came.",
    ),
    key("proxy.request_headers.remove", Texts, "[]", "[\"X-Debug\"]", "Fields that requests lose."),
    key(
        "proxy.response_headers.set.*",
        Text,
        "",
        "\"max-age=31536000\"",
        "A field of answers that has this value and no other.",
    ),
    key(
        "proxy.response_headers.add.*",
        Text,
        "",
        "\"yes\"",
        "A field that answers have in addition to the app's.",
    ),
    key("proxy.response_headers.remove", Texts, "[]", "[\"Server\"]", "Fields that answers lose."),
    secret(
        "proxy.basic_auth.users.*",
        Text,
        "\"$2b$12$Gj1x7QyzuJEgBBY51YFYGuOnS4TpdMSBjVGKfvZ3zZ7LJtYtVbTMe\"",
        "Who may come, and what `proxyd hash-password` says of the password. Others are answered 401.",
    ),
    key(
        "proxy.basic_auth.realm",
        Text,
        "\"restricted\"",
        "\"Shop\"",
        "What browsers show when they ask for the password.",
    ),
    key(
        "proxy.basic_auth.remove_authorization",
        Flag,
        "false",
        "true",
        "Whether the password is kept from the app.",
    ),
    key(
        "proxy.allow",
        Networks,
        "[]",
        "[\"10.0.0.0/8\"]",
        "Clients that may come, as addresses or networks; then others may not. The most particular \
         of both lists decides.",
    ),
    key("proxy.deny", Networks, "[]", "[\"192.0.2.7\"]", "Clients that are answered 403."),
    key(
        "proxy.rate_limit.requests",
        Whole { least: 1, most: MOST_REQUESTS },
        "",
        "20",
        "How many requests a client may send in a time; beyond, it is answered 429.",
    ),
    key(
        "proxy.rate_limit.per",
        seconds(Least::AboveZero, DAY),
        "\"1s\"",
        "\"1m\"",
        "In which time.",
    ),
    key(
        "proxy.rate_limit.burst",
        Whole { least: 1, most: MOST_REQUESTS },
        "",
        "50",
        "How many at once; without, `requests`.",
    ),
    key(
        "proxy.rate_limit.key",
        Text,
        "\"client\"",
        "\"header X-Api-Key\"",
        "Who is counted together: `client`, by address, or `header NAME`, by that field's value.",
    ),
    key(
        "proxy.limits.body",
        BODY,
        "",
        "\"10M\"",
        "The body of a request: a larger one is answered 413.",
    ),
    key(
        "proxy.limits.answer",
        up_to(WEEK),
        "",
        "\"30s\"",
        "How long the app may take for the head of its answer: then it is 504. Without, a minute.",
    ),
    key(
        "proxy.limits.rate",
        RATE,
        "",
        "\"1K\"",
        "How many bytes of a body a client sends or takes at least each second, while it is waited for; without, 100.",
    ),
    key(
        "proxy.limits.stream_idle",
        up_to(WEEK),
        "",
        "\"10m\"",
        "After so long without a byte WebSockets and answers that have begun are cut.",
    ),
    key(
        "proxy.balance",
        Text,
        "\"least-loaded\"",
        "\"round-robin\"",
        "Which instance gets a request: `least-loaded`, `round-robin`; or always the same for the same \
         `client`, `path`, `header NAME` or `cookie NAME`.",
    ),
    key(
        "proxy.sticky.cookie",
        Text,
        "",
        "\"instance\"",
        "A cookie of this name brings clients back to the instance that answered them first.",
    ),
    key("proxy.sticky.path", Text, "\"/\"", "\"/cart\"", "Below which path it is sent."),
    key(
        "proxy.sticky.max_age",
        seconds(Least::Zero, Duration::from_hours(24 * 400)),
        "",
        "\"1d\"",
        "How long it lasts; without, as long as the browser runs.",
    ),
    key(
        "proxy.sticky.same_site",
        Choice(&["lax", "strict", "none"]),
        "\"lax\"",
        "\"strict\"",
        "Whether it is sent with requests that other sites cause.",
    ),
    key("proxy.sticky.secure", Flag, "false", "true", "Whether it is sent over TLS only."),
    key(
        "proxy.max_in_flight",
        Whole { least: 1, most: 1_000_000 },
        "",
        "100",
        "How many requests an instance works on at once.",
    ),
    key(
        "proxy.queue",
        Whole { least: 0, most: 100_000 },
        "0",
        "1000",
        "How many more may wait for their turn; beyond, it is 503.",
    ),
    key(
        "proxy.queue_time",
        up_to(HOUR),
        "",
        "\"10s\"",
        "How long each waits; without, five seconds.",
    ),
    key(
        "proxy.error_pages.*",
        Text,
        "",
        "\"sorry.html\"",
        "The file of a page for a status (`\"502\"`) or a class of them (`\"5xx\"`) that the proxy \
         answers itself. A relative one starts at this file's folder.",
    ),
    key(
        "proxy.replace_errors",
        Flag,
        "false",
        "true",
        "Whether these pages are shown instead of the app's own errors, too.",
    ),
    key(
        "proxy.maintenance.on",
        Flag,
        "false",
        "true",
        "Whether the app is under maintenance: its instances run, and are not asked.",
    ),
    key(
        "proxy.maintenance.page",
        Text,
        "",
        "\"sorry.html\"",
        "The file of the page that is answered instead.",
    ),
    key(
        "proxy.maintenance.status",
        Whole { least: 400, most: 599 },
        "503",
        "500",
        "The status that it is answered with.",
    ),
    key(
        "proxy.maintenance.retry_after",
        seconds(Least::Zero, Duration::from_hours(24 * 365)),
        "",
        "\"10m\"",
        "When clients are told to come back.",
    ),
    key(
        "proxy.maintenance.allow",
        Networks,
        "[]",
        "[\"10.0.0.0/8\"]",
        "Clients that are let through all the same.",
    ),
];
