//! The keys of `apps/NAME.toml`.

use super::schema::Kind::{
    Account, Choice, Factor, Flag, Hosts, Processors, Statuses, Text, Texts, Whole,
};
use super::schema::{Key, Kind, SPAN, TIME, key, secret};

/// The most instances an app may have.
pub(crate) const MAX_INSTANCES: u32 = 1000;
const MOST_INSTANCES: i64 = MAX_INSTANCES as i64;
/// Less than that, and no program starts.
const MEMORY: Kind = Kind::Size { least: 1 << 20, most: 1 << 60 };
/// How large the file of a log may get.
pub(super) const LOG_SIZE: Kind = Kind::Size { least: 64 << 10, most: 1 << 40 };
/// What init keeps of a stream.
const BUFFER: Kind = Kind::Size { least: 4 << 10, most: 16 << 20 };
/// How large a release may get.
const RELEASE_SIZE: Kind = Kind::Size { least: 1 << 10, most: 1 << 40 };
/// How many old files of a log may stay.
pub(super) const MOST_KEPT: i64 = 1000;
const MOST_PROCESSES: i64 = 4_194_304;
/// As many as the kernel lets a process have.
const MOST_FILES: i64 = 1_073_741_816;

pub(super) const APP: &[Key] = &[
    key(
        "exec",
        Text,
        "",
        "\"node\"",
        "The program. With a slash it is a path that starts at the file's folder, or at its release's; \
         without, it is looked up in the app's PATH.",
    ),
    key("args", Texts, "[]", "[\"server.js\"]", "What the program is started with."),
    key(
        "cwd",
        Text,
        "",
        "\"/var/www/shop\"",
        "The folder that it works in. A relative one starts at the file's folder, or at its release's.",
    ),
    key(
        "files.*",
        Text,
        "",
        "\"public\"",
        "A folder of which the proxy serves the files by itself, by the beginning of the path that they are \
         below: `\"/static\" = \"public\"`. A relative one starts at the file's folder, or at its release's; an absolute \
         one is the same in every release. \
         `\".\"` is all of a release. The proxy's user has to be able to read it. With `\"/\"` and without `exec` the app is files only, \
         and nothing runs.",
    ),
    key("user", Account, "", "\"www\"", "Whom it runs as; without, as bootctl does."),
    key("group", Account, "", "\"www\"", "Its group; without, that of its user."),
    key(
        "instances",
        Whole { least: 0, most: MOST_INSTANCES },
        "1",
        "2",
        "How many of it run side by side. 0 parks it: its hosts are kept, and nothing runs.",
    ),
    key(
        "alias",
        Hosts,
        "[]",
        "[\"www.shop.example\"]",
        "Hosts that it answers for beside its name. `*.shop.example` stands for all names below `shop.example` that no app has.",
    ),
    key(
        "redirect",
        Hosts,
        "[]",
        "[\"old.example\"]",
        "Hosts whose clients are sent to the app's name, with path and query; `*.` as in `alias`.",
    ),
    key(
        "web",
        Flag,
        "true",
        "false",
        "Whether it answers requests. An app that does not has no host and no port, and is ready when it \
         runs.",
    ),
    key(
        "port",
        Whole { least: 1, most: 65_535 },
        "",
        "9100",
        "Where the search for free ports for its instances begins, instead of `ports.first`.",
    ),
    key(
        "socket",
        Choice(&["port", "unix", "fd"]),
        "\"port\"",
        "\"unix\"",
        "What an instance listens on: the port in PORT, the unix socket in SOCKET, or descriptor 3, a \
         listener that init keeps for it from run to run.",
    ),
    secret("env.*", Text, "\"production\"", "A variable of its environment. PATH has a default."),
    key(
        "health.http",
        Text,
        "",
        "\"/healthz\"",
        "It is ready when a GET of this path answers 2xx or 3xx. Without, when its port accepts \
         connections.",
    ),
    key("health.tcp", Flag, "", "true", "It is ready when its port accepts connections."),
    key("health.interval", SPAN, "\"10s\"", "\"5s\"", "How often it is asked once it is ready."),
    key("health.timeout", SPAN, "\"5s\"", "\"2s\"", "How long an answer may take."),
    key(
        "health.passes",
        Whole { least: 1, most: 100 },
        "1",
        "2",
        "So many good answers in a row make it ready.",
    ),
    key(
        "health.fails",
        Whole { least: 1, most: 100 },
        "3",
        "2",
        "So many bad ones in a row make it unready: it gets no requests.",
    ),
    key(
        "health.exec",
        Text,
        "",
        "\"pg_isready -q\"",
        "It is ready when this command ends with 0: what a shell understands, or an array of a program \
         and its arguments.",
    ),
    key("health.notify", Flag, "", "true", "It says itself that it is ready, by sd_notify."),
    key(
        "health.start_period",
        SPAN,
        "",
        "\"1m\"",
        "How long bad answers do not count after its start.",
    ),
    key(
        "health.restart",
        Flag,
        "true",
        "false",
        "Whether one that was ready, and is not any more, is started again.",
    ),
    key(
        "health.watchdog",
        SPAN,
        "",
        "\"30s\"",
        "With notify: it is started again when it has not said for so long that it is well.",
    ),
    key(
        "restart.policy",
        Choice(&["never", "on-failure", "always"]),
        "\"always\"",
        "\"on-failure\"",
        "When it is started again after it has ended.",
    ),
    key("restart.delay", TIME, "\"100ms\"", "\"1s\"", "How long the first restart waits."),
    key(
        "restart.factor",
        Factor { least: 1.0, most: 100.0 },
        "2.0",
        "1.5",
        "Each next one waits so many times as long.",
    ),
    key("restart.max_delay", TIME, "\"30s\"", "\"1m\"", "How long it waits at most."),
    key(
        "restart.jitter",
        Factor { least: 0.0, most: 1.0 },
        "0.0",
        "\"10%\"",
        "Which part of the wait is left to chance.",
    ),
    key(
        "restart.reset_after",
        TIME,
        "\"10s\"",
        "\"1m\"",
        "When it has run for so long, the next restart is a first one.",
    ),
    key(
        "restart.limit",
        Whole { least: 0, most: 1_000_000 },
        "0",
        "10",
        "After so many restarts within the window it is given up. 0: never.",
    ),
    key("restart.window", TIME, "\"1m\"", "\"10m\"", "The time in which they are counted."),
    key("stop.signal", Text, "\"TERM\"", "\"INT\"", "How it is asked to end."),
    key("stop.timeout", TIME, "\"10s\"", "\"30s\"", "After that it is killed."),
    key(
        "stop.drain",
        TIME,
        "\"10s\"",
        "\"1m\"",
        "How long requests in flight may take before it is asked to end.",
    ),
    key(
        "stop.drain_streams",
        TIME,
        "\"30s\"",
        "\"5m\"",
        "The same for WebSockets and other streams.",
    ),
    key("groups", Texts, "", "[\"adm\"]", "Its other groups, instead of those of its user."),
    key("umask", Text, "", "\"027\"", "Which rights the files that it makes do not get, in octal."),
    key(
        "nice",
        Whole { least: -20, most: 19 },
        "",
        "5",
        "How much it stands back for others; below 0, they for it.",
    ),
    key(
        "oom_score_adj",
        Whole { least: -1000, most: 1000 },
        "",
        "500",
        "How soon it is ended when memory is out.",
    ),
    key(
        "no_new_privs",
        Flag,
        "false",
        "true",
        "Whether it can never get more rights than it has, by sudo say.",
    ),
    key(
        "capabilities",
        Texts,
        "",
        "[\"NET_BIND_SERVICE\"]",
        "The capabilities that it has; without, those of its user.",
    ),
    key("limits.memory", MEMORY, "", "\"256M\"", "Its memory: one that wants more is ended."),
    key("limits.memory_high", MEMORY, "", "\"200M\"", "Memory above which it is slowed down."),
    key("limits.cpu", Processors, "", "\"50%\"", "How much of the processors it gets at most."),
    key(
        "limits.cpu_weight",
        Whole { least: 1, most: 10_000 },
        "",
        "50",
        "Its share of a busy processor, where others have 100.",
    ),
    key(
        "limits.processes",
        Whole { least: 1, most: MOST_PROCESSES },
        "",
        "64",
        "How many processes and threads it may have.",
    ),
    key(
        "limits.open_files",
        Whole { least: 8, most: MOST_FILES },
        "",
        "4096",
        "How many files and connections each of its processes may have open.",
    ),
    key(
        "log.capture",
        Flag,
        "true",
        "false",
        "Whether what it writes is kept in its log; else it goes where init's own output goes.",
    ),
    key(
        "log.buffer",
        BUFFER,
        "\"64K\"",
        "\"1M\"",
        "How much of it init holds until it is in the log.",
    ),
    key(
        "log.when_full",
        Choice(&["drop", "wait"]),
        "\"drop\"",
        "\"wait\"",
        "What becomes of lines that find no room there: they are lost, or the app waits.",
    ),
    key("log.max_size", LOG_SIZE, "", "\"50M\"", "As in bootctl.toml, for this app."),
    key("log.max_age", SPAN, "", "\"1d\"", "As in bootctl.toml, for this app."),
    key(
        "log.keep",
        Whole { least: 0, most: MOST_KEPT },
        "",
        "10",
        "As in bootctl.toml, for this app.",
    ),
    key(
        "log.compress",
        Choice(&["gzip", "zstd", "none"]),
        "",
        "\"zstd\"",
        "As in bootctl.toml, for this app.",
    ),
    key(
        "after",
        Hosts,
        "[]",
        "[\"db\"]",
        "Apps that are to be ready before it is started, if they are to run at all.",
    ),
    key("requires", Hosts, "[]", "[\"db\"]", "The same of apps without which it cannot run."),
    key(
        "Name",
        Text,
        "",
        "\"a\"",
        "As zist writes it: the name of the app, which its file has, too.",
    ),
    key("Path", Text, "", "\"/usr/bin/node\"", "As zist writes it: `exec`."),
    key(
        "Args",
        Text,
        "",
        "\"-your -app 'arg s'\"",
        "As zist writes it: `args` in one string, split as a shell does.",
    ),
    key("Restart", Flag, "", "true", "As zist writes it: the policy `always` or `never`."),
    key("Web", Flag, "", "true", "As zist writes it: `web`."),
    key(
        "runlevels",
        Statuses { least: 1, most: 4 },
        "[2, 3, 4]",
        "[3]",
        "At which runlevels it runs. At 1 nobody reaches it from outside.",
    ),
    key(
        "deploy.timeout",
        SPAN,
        "\"1m\"",
        "\"5m\"",
        "How long a new instance may take to be ready before its roll is given up.",
    ),
    key(
        "deploy.settle",
        TIME,
        "\"0s\"",
        "\"10s\"",
        "How long a new instance must have been ready before an old one goes.",
    ),
    key(
        "deploy.watch",
        TIME,
        "\"30s\"",
        "\"5m\"",
        "How long after its roll a new release is taken back if its instances keep dying or are not ready any \
         more. 0s: it is not.",
    ),
    key(
        "deploy.keep",
        Whole { least: 2, most: MOST_KEPT },
        "5",
        "10",
        "How many releases stay. The current one, the one before, and those that run are among them.",
    ),
    key(
        "deploy.max_size",
        RELEASE_SIZE,
        "\"2G\"",
        "\"500M\"",
        "How many bytes a release may have; what has more is refused.",
    ),
    key(
        "deploy.max_files",
        Whole { least: 1, most: 10_000_000 },
        "200000",
        "50000",
        "How many files, folders and links it may have.",
    ),
    key(
        "deploy.owner",
        Account,
        "",
        "\"root\"",
        "Whose the files of a release are; without, the app's user's, who may then write there.",
    ),
    key(
        "deploy.update",
        Text,
        "",
        "\"git pull --ff-only\"",
        "What `bootctl update` runs in a shell, as the app's user where the app runs, or in a copy of its release. \
         Off unless it is written.",
    ),
    key(
        "deploy.rebuild",
        Text,
        "",
        "\"./build.sh\"",
        "The same for `bootctl rebuild`. `upgrade` and `deploy` run both.",
    ),
    key("deploy.command_timeout", SPAN, "\"10m\"", "\"1h\"", "How long each of the two may take."),
];
