//! Caddy. It forwards X-Forwarded-* by itself, and logs in JSON.

use std::process::Command;

use super::{Peer, Setting, free, installed, write};

pub fn start(setting: &Setting) -> Result<Peer, String> {
    with(setting, "h1")
}

/// It speaks HTTP/2 with its clients, too.
pub fn over_http2(setting: &Setting) -> Result<Peer, String> {
    with(setting, "h1 h2c")
}

fn with(setting: &Setting, spoken: &str) -> Result<Peer, String> {
    let binary = installed("caddy")?;
    let address = free();
    let path = setting.file(address, "Caddyfile");
    let (origin, port) = (setting.tcp, address.port());
    let log = setting.file(address, "caddy.log");
    let config = format!(
        "{{\n  admin off\n  auto_https off\n  persist_config off\n\
         \x20 servers {{\n    protocols {spoken}\n    timeouts {{\n      idle 5m\n    }}\n  }}\n}}\n\
         http://bench.test:{port} {{\n  bind 127.0.0.1\n  log {{\n    output file {}\n  }}\n\
         \x20 reverse_proxy {origin} {{\n    transport http {{\n      keepalive 5m\n\
         \x20     keepalive_idle_conns 2048\n      keepalive_idle_conns_per_host 2048\n\
         \x20     compression off\n    }}\n  }}\n}}\n",
        log.display()
    );
    write(&path, &config)?;
    let mut command = Command::new(binary);
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(&path);
    for home in ["HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"] {
        command.env(home, setting.folder());
    }
    Peer::start(command.env("GOMAXPROCS", "1"), address)
}
