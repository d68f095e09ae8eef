//! Traefik. It forwards X-Forwarded-* by itself, and its log has a buffer of lines.

use std::process::{Command, Stdio};

use super::{Peer, Setting, free, installed, write};

pub fn start(setting: &Setting) -> Result<Peer, String> {
    let binary = installed("traefik")?;
    let address = free();
    let (static_path, path) =
        (setting.file(address, "traefik.yml"), setting.file(address, "routes.yml"));
    let log = setting.file(address, "traefik.log");
    let config = format!(
        "global:\n  checkNewVersion: false\n  sendAnonymousUsage: false\n\
         entryPoints:\n  web:\n    address: \"{address}\"\n    transport:\n\
         \x20     respondingTimeouts:\n        readTimeout: 0s\n        idleTimeout: 300s\n\
         providers:\n  file:\n    filename: \"{}\"\n    watch: false\n\
         serversTransport:\n  maxIdleConnsPerHost: 2048\n\
         log:\n  level: ERROR\n\
         accessLog:\n  filePath: \"{}\"\n  bufferingSize: 1000\n",
        path.display(),
        log.display()
    );
    write(&static_path, &config)?;
    let routes = format!(
        "http:\n  routers:\n    bench:\n      rule: \"Host(`bench.test`)\"\n      service: origin\n\
         \x20 services:\n    origin:\n      loadBalancer:\n        servers:\n\
         \x20         - url: \"http://{}\"\n",
        setting.tcp
    );
    write(&path, &routes)?;
    let mut command = Command::new(binary);
    command.arg(format!("--configFile={}", static_path.display())).stdout(Stdio::null());
    Peer::start(command.env("GOMAXPROCS", "1"), address)
}
