//! The apps that play, and what may be asked of each.

use super::command::Verb;

/// One app.
pub struct Player {
    pub name: &'static str,
    /// Of its file: its own lines.
    pub lines: &'static str,
    /// Of its file: its own environment.
    pub env: &'static str,
    pub instances: u32,
    /// What is asked of it; the more often it stands here, the more often.
    pub verbs: &'static [Verb],
    /// How many instances may be asked for.
    pub counts: &'static [u32],
    /// Whether it may fail: then it need not get to where it is wanted.
    pub fails: bool,
    /// Whether requests come to it all the time, each of which has to be answered.
    pub loaded: bool,
    /// Whether it is there from the beginning.
    pub first: bool,
}

const STEADY: &[Verb] = &[Verb::Restart, Verb::Restart, Verb::Scale, Verb::Edit];
const ANY: &[Verb] =
    &[Verb::Start, Verb::Start, Verb::Stop, Verb::Restart, Verb::Scale, Verb::Edit, Verb::Start];
const SHIPPING: &[Verb] =
    &[Verb::Ship, Verb::Ship, Verb::Back, Verb::Build, Verb::Scale, Verb::Restart, Verb::Edit];
const COMING: &[Verb] = &[Verb::Add, Verb::Remove, Verb::Stop, Verb::Start, Verb::Scale];

const PLAIN: Player = Player {
    name: "quiet.test",
    lines: "",
    env: "",
    instances: 2,
    verbs: &[],
    counts: &[],
    fails: false,
    loaded: false,
    first: true,
};

/// The names tell what each is like.
pub const CAST: &[Player] = &[
    PLAIN,
    Player { name: "steady.test", verbs: STEADY, counts: &[1, 2, 3], loaded: true, ..PLAIN },
    Player {
        name: "slow.test",
        env: "DELAY_MS = \"120\"\n",
        instances: 1,
        verbs: ANY,
        counts: &[0, 1, 2],
        ..PLAIN
    },
    Player {
        name: "flaky.test",
        env: "FAILS_ONE_IN = \"3\"\n",
        verbs: ANY,
        counts: &[1, 2],
        fails: true,
        ..PLAIN
    },
    Player {
        name: "socket.test",
        lines: "socket = \"unix\"\n",
        verbs: ANY,
        counts: &[1, 2, 3],
        ..PLAIN
    },
    Player {
        name: "handed.test",
        lines: "socket = \"fd\"\n[health]\nhttp = \"/\"\n",
        verbs: ANY,
        counts: &[0, 1, 3],
        ..PLAIN
    },
    Player {
        name: "shipped.test",
        lines: "[deploy]\nwatch = \"0s\"\nkeep = 3\nupdate = \"echo more >> BUILT\"\n\
                rebuild = \"sleep 0.02\"\n",
        verbs: SHIPPING,
        counts: &[1, 2],
        ..PLAIN
    },
    Player {
        name: "guest.test",
        instances: 1,
        verbs: COMING,
        counts: &[1, 2],
        first: false,
        ..PLAIN
    },
    Player {
        name: "visitor.test",
        env: "DELAY_MS = \"20\"\n",
        verbs: COMING,
        counts: &[0, 2],
        first: false,
        ..PLAIN
    },
];

impl Player {
    /// Whether it runs from releases.
    pub fn ships(&self) -> bool {
        self.verbs.contains(&Verb::Ship)
    }

    /// Its file.
    pub fn file(&self, programs: Programs<'_>, instances: u32, colour: u32) -> String {
        let Self { lines, env, .. } = self;
        let exec = match self {
            player if player.ships() => "./run",
            Self { loaded: true, .. } => programs.loaded,
            Self { loaded: false, .. } => programs.moody,
        };
        format!(
            "# {}\nexec = \"{exec}\"\ninstances = {instances} # so many\n{lines}[stop]\n\
             drain_streams = \"50ms\"\n[restart]\ndelay = \"10ms\"\nfactor = 1\n[env]\n{env}\
             SITE = \"{}\"\nCOLOUR = \"{colour}\"\n",
            self.name, programs.mark
        )
    }
}

/// What the apps run.
#[derive(Clone, Copy, Debug)]
pub struct Programs<'a> {
    /// `moody`.
    pub moody: &'a str,
    /// `serves`.
    pub loaded: &'a str,
    /// In the environment of all of this site.
    pub mark: &'a str,
}
