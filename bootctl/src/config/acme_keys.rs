//! The keys of `[acme]` in `bootctl.toml`.

use super::schema::Kind::{Account, Flag, Text, Texts};
use super::schema::{Key, SPAN, key};

pub(super) const ACME: &[Key] = &[
    key(
        "acme.email",
        Text,
        "",
        "\"ops@shop.example\"",
        "Whom an authority may write to. With `[acme]` apps get certificates without more being done; whoever writes it \
         agrees to the terms of service of those who are asked.",
    ),
    key(
        "acme.ca",
        Texts,
        "[\"letsencrypt\"]",
        "[\"letsencrypt\", \"zerossl\"]",
        "Who is asked for certificates, the next one where one fails: `letsencrypt`, `letsencrypt-staging`, `zerossl`, a NAME \
         of `[acme.authority.NAME]`, or the address of a directory.",
    ),
    key(
        "acme.all",
        Flag,
        "true",
        "false",
        "Whether every app that has no certificate of its own gets one for its public hosts; else those with `tls.acme = \
         true` do.",
    ),
    key(
        "acme.challenges",
        Texts,
        "[\"http-01\", \"tls-alpn-01\"]",
        "[\"dns-01\"]",
        "How it is shown that a host is ours, the preferred way first: `http-01` by an answer at port 80, `tls-alpn-01` by one \
         at port 443, `dns-01` by `[acme.dns]`.",
    ),
    key(
        "acme.preflight",
        Flag,
        "true",
        "false",
        "Whether nobody is asked before a host's name resolves and port 80 answers.",
    ),
    key(
        "acme.authority.*.directory",
        Text,
        "",
        "\"https://ca.example/directory\"",
        "An authority of another name: the address of its directory. Those that are known by name need none.",
    ),
    key(
        "acme.authority.*.root",
        Text,
        "",
        "\"/etc/ssl/ca.pem\"",
        "The file of who vouches for it, as PEM, if that is nobody whom the system believes. The proxy's user must be able \
         to read it.",
    ),
    key(
        "acme.authority.*.profile",
        Text,
        "",
        "\"shortlived\"",
        "Which of its kinds of certificates.",
    ),
    key(
        "acme.authority.*.eab_key_id",
        Text,
        "",
        "\"kid-1\"",
        "The account there that ours belongs to (external account binding), where it wants one.",
    ),
    key(
        "acme.authority.*.eab_key_file",
        Text,
        "",
        "\"/etc/bootctl/eab.key\"",
        "The file of the key that belongs to it, in Base64. The proxy's user must be able to read it.",
    ),
    key(
        "acme.dns.exec",
        Text,
        "",
        "\"/usr/local/bin/dns-record\"",
        "The command that places records for `dns-01`, as a job of init. It is told in its environment: ACTION (`add` or \
         `remove`), RECORD (`_acme-challenge.shop.example`) and VALUES, a line each, which are to be there together. It \
         ends with 0 when the zone's servers have them.",
    ),
    key("acme.dns.args", Texts, "[]", "[\"--zone\", \"example\"]", "Its arguments."),
    key("acme.dns.user", Account, "", "\"dns\"", "Whom it runs as, if not bootctl's own user."),
    key("acme.dns.timeout", SPAN, "\"5m\"", "\"2m\"", "How long it may take."),
];
