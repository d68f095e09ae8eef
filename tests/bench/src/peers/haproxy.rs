//! `HAProxy`. Its log goes to a file by way of its standard output, a line a write. A ring in its
//! memory that hands on batches to a socket costs it as much, and another thread besides.

use std::fs::File;
use std::process::Command;

use super::{Peer, Setting, free, program, write};

pub fn start(setting: &Setting) -> Result<Peer, String> {
    with(setting, "", "")
}

/// It speaks HTTP/2 with its clients, and nothing else.
pub fn over_http2(setting: &Setting) -> Result<Peer, String> {
    with(setting, "", " proto h2")
}

/// It speaks TLS, and within it what clients choose. A connection that nothing was asked on has no line in its log, as
/// it has none in others'.
pub fn over_tls(setting: &Setting) -> Result<Peer, String> {
    let both = setting.tls().both.display();
    let spoken = format!(" ssl crt {both} ssl-min-ver TLSv1.3 alpn h2,http/1.1");
    with(setting, "  option dontlognull\n  option http-ignore-probes\n", &spoken)
}

/// It may move large bodies by pages, which it does not unless it is told.
pub fn splicing(setting: &Setting) -> Result<Peer, String> {
    with(setting, "  option splice-auto\n", "")
}

fn with(setting: &Setting, options: &str, spoken: &str) -> Result<Peer, String> {
    let binary = program(&["/usr/sbin/haproxy", "/usr/bin/haproxy"])?;
    let address = free();
    let path = setting.file(address, "haproxy.cfg");
    let (connections, origin) = (setting.clients + 256, setting.tcp);
    let scheme = if spoken.contains(" ssl ") { "https" } else { "http" };
    let config = format!(
        "global\n  nbthread 1\n  maxconn {connections}\n  log stdout format raw local0 info\n\
         defaults\n  mode http\n  log global\n  option httplog\n  option http-keep-alive\n\
         {options}\
         \x20 http-reuse always\n  timeout client 300s\n  timeout server 300s\n\
         \x20 timeout connect 5s\n  timeout http-keep-alive 300s\n  timeout tunnel 300s\n\
         frontend front\n  bind {address}{spoken} backlog 4096\n  option forwardfor\n\
         \x20 http-request set-header X-Forwarded-Proto {scheme}\n\
         \x20 http-request set-header X-Forwarded-Host %[req.hdr(host)]\n\
         \x20 default_backend origin\n\
         backend origin\n  server one {origin} pool-max-conn 1024\n"
    );
    write(&path, &config)?;
    let log = File::create(setting.file(address, "haproxy.log"));
    let log = log.map_err(|error| error.to_string())?;
    Peer::start(Command::new(binary).arg("-db").arg("-f").arg(&path).stdout(log), address)
}
