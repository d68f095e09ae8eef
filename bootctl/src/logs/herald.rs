//! What the collector says of itself to init, which shows it to everybody: that it is ready, and its
//! trouble, as `sd_notify(3)` has it.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use tracing::{info, warn};

/// The longest text that init keeps.
const LONGEST: usize = 250;

/// What it has said last.
#[derive(Debug)]
pub(crate) struct Herald {
    to: Option<SocketAddr>,
    trouble: Option<String>,
}

impl Herald {
    /// To whoever has started it, if he listens.
    pub(crate) fn new() -> Self {
        let to =
            std::env::var("NOTIFY_SOCKET").ok().and_then(|name| match name.strip_prefix('@') {
                Some(name) => SocketAddr::from_abstract_name(name).ok(),
                None => SocketAddr::from_pathname(name).ok(),
            });
        Self { to, trouble: None }
    }

    pub(crate) fn ready(&self) {
        self.say("READY=1");
    }

    /// Says once what is wrong, and once that it is not any more.
    pub(crate) fn trouble(&mut self, trouble: Option<String>) {
        if self.trouble == trouble {
            return;
        }
        if let Some(text) = &trouble {
            warn!("{text}; apps go on, and it is tried again");
            let text: String = text.replace('\n', " ").chars().take(LONGEST).collect();
            self.say(&format!("STATUS={text}"));
        } else {
            info!("logs are written again");
            self.say("STATUS=");
        }
        self.trouble = trouble;
    }

    pub(crate) fn say(&self, text: &str) {
        let Some(to) = &self.to else { return };
        // Whoever does not listen does not care.
        drop(UnixDatagram::unbound().and_then(|socket| socket.send_to_addr(text.as_bytes(), to)));
    }
}
