//! The keys of `[proxy.tls]` in `bootctl.toml`, and of `[tls]` in `apps/NAME.toml`.

use std::time::Duration;

use super::schema::Kind::{Choice, Flag, Text, Whole};
use super::schema::{Key, Least, key, seconds, up_to};

/// As long as any list of browsers asks for, and longer.
const TEN_YEARS: Duration = Duration::from_hours(24 * 3650);

pub(super) const MAIN_TLS: &[Key] = &[
    key(
        "proxy.tls.listen",
        Text,
        "",
        "\"[::]:443\"",
        "Where the proxy listens for https: a numeric address and a port, or `off`. Without a word, at port 443 of the \
         address of `proxy.listen` as soon as there is a certificate to be shown, if that has port 80.",
    ),
    key(
        "proxy.tls.public_port",
        Whole { least: 1, most: 65_535 },
        "",
        "8443",
        "The port that clients reach it on, if it is not the one of `listen`. Redirects say so.",
    ),
    key(
        "proxy.tls.certificate",
        Text,
        "",
        "\"/etc/ssl/example.pem\"",
        "The file of a certificate that is not one app's alone, and its issuers' behind it, as PEM. It is shown to whoever \
         asks for a host that it is made out to. It is watched: what is written there is shown from then on.",
    ),
    key(
        "proxy.tls.key",
        Text,
        "",
        "\"/etc/ssl/private/example.key\"",
        "The file of its key. Only bootctl has to be able to read it.",
    ),
    key(
        "proxy.tls.unknown_names",
        Choice(&["refuse", "answer"]),
        "\"refuse\"",
        "\"answer\"",
        "What becomes of clients that name no host, or one that there is no certificate for: `answer` shows them \
         `proxy.tls.certificate`.",
    ),
    key(
        "proxy.tls.min_version",
        Choice(&["1.2", "1.3"]),
        "\"1.2\"",
        "\"1.3\"",
        "The oldest version of TLS that is spoken.",
    ),
    key("proxy.tls.http2", Flag, "true", "false", "Whether HTTP/2 is offered."),
    key(
        "proxy.tls.handshake_time",
        up_to(Duration::from_hours(1)),
        "",
        "\"5s\"",
        "How long a client may take for the handshake; without, ten seconds.",
    ),
    key(
        "proxy.tls.client_ca",
        Text,
        "",
        "\"/etc/ssl/clients.pem\"",
        "The file of those who vouch for clients, as PEM. Then clients have to show a certificate of theirs, and apps are \
         told of it in X-Forwarded-Client-Cert. It is watched.",
    ),
    key(
        "proxy.tls.client_auth",
        Choice(&["required", "optional"]),
        "\"required\"",
        "\"optional\"",
        "Whether who has none is let in all the same. A wrong one is always refused.",
    ),
    key(
        "proxy.tls.hsts.max_age",
        seconds(Least::Zero, TEN_YEARS),
        "",
        "\"365d\"",
        "For how long browsers are told to come by https only (Strict-Transport-Security); without, they are not told.",
    ),
    key(
        "proxy.tls.hsts.subdomains",
        Flag,
        "false",
        "true",
        "Whether that is so of all hosts below, too.",
    ),
    key(
        "proxy.tls.hsts.preload",
        Flag,
        "false",
        "true",
        "Whether browsers may have it in their lists; they want `subdomains`, and a year or more.",
    ),
    key(
        "proxy.http2.cleartext",
        Flag,
        "false",
        "true",
        "Whether a connection without TLS may begin with HTTP/2, to whoever knows beforehand.",
    ),
    key(
        "proxy.http2.streams",
        Whole { least: 1, most: 1000 },
        "",
        "250",
        "How many requests one connection of HTTP/2 may have at a time; without, 100.",
    ),
];

pub(super) const APP_TLS: &[Key] = &[
    key(
        "tls.certificate",
        Text,
        "",
        "\"/etc/ssl/shop.pem\"",
        "The file of the certificate for its hosts, and its issuers' behind it, as PEM. A relative path starts at this \
         file's folder. It is watched: what is written there is shown from then on, to new connections.",
    ),
    key(
        "tls.key",
        Text,
        "",
        "\"/etc/ssl/private/shop.key\"",
        "The file of its key. Only bootctl has to be able to read it.",
    ),
    key(
        "tls.acme",
        Flag,
        "",
        "true",
        "Whether a certificate for all of its hosts is obtained; without a word, as `acme.all` says, for those that are \
         public. It needs `[acme]` in bootctl.toml.",
    ),
    key(
        "tls.redirect",
        Flag,
        "",
        "false",
        "Whether clients that come by http are sent to https; without a word, those who ask for a host that there is a \
         certificate for.",
    ),
    key(
        "tls.hsts.max_age",
        seconds(Least::Zero, TEN_YEARS),
        "",
        "\"365d\"",
        "For how long browsers are told to come to its hosts by https only; without, as `proxy.tls.hsts` of bootctl.toml \
         says. `0s` has them forget it.",
    ),
    key(
        "tls.hsts.subdomains",
        Flag,
        "false",
        "true",
        "Whether that is so of all hosts below, too.",
    ),
    key(
        "tls.hsts.preload",
        Flag,
        "false",
        "true",
        "Whether browsers may have it in their lists; they want `subdomains`, and a year or more.",
    ),
];
