//! nginx as its documentation tunes a reverse proxy: kept connections, bodies streamed both ways and
//! never to the disk, a log that is buffered.

use std::process::Command;

use super::{Peer, Setting, free, program, site, write};

pub fn start(setting: &Setting) -> Result<Peer, String> {
    with(setting, "", "")
}

/// It serves files by itself, as its documentation tunes that.
pub fn of_files(setting: &Setting) -> Result<Peer, String> {
    let said = format!(
        "location ~ \\.bin$ {{ root {}; sendfile on; tcp_nopush on; }}",
        site(setting).display()
    );
    with(setting, "", &said)
}

/// It speaks HTTP/2 with its clients, and nothing else.
pub fn over_http2(setting: &Setting) -> Result<Peer, String> {
    with(setting, " http2", "")
}

/// It speaks TLS, and within it what clients choose. Sessions are in tickets, as they are unless it is told otherwise:
/// with a cache beside them, each handshake costs it more.
pub fn over_tls(setting: &Setting) -> Result<Peer, String> {
    let tls = setting.tls();
    let (chain, key) = (tls.chain.display(), tls.key.display());
    let said =
        format!("ssl_certificate {chain}; ssl_certificate_key {key}; ssl_protocols TLSv1.3;");
    with(setting, " ssl http2", &said)
}

fn with(setting: &Setting, spoken: &str, more: &str) -> Result<Peer, String> {
    let binary = program(&["/usr/sbin/nginx", "/usr/bin/nginx"])?;
    let address = free();
    let path = setting.file(address, "nginx.conf");
    let here = setting.folder().display();
    let origin = setting.tcp;
    // Each client may have a connection behind it; it keeps memory for each.
    let connections = setting.clients * 2 + 256;
    let user = if nix::unistd::geteuid().is_root() { "user root;" } else { "" };
    let config = format!(
        "daemon off; {user} worker_processes 1; worker_rlimit_nofile 20000;\n\
         pid {here}/nginx.pid; error_log {here}/nginx.err crit;\n\
         events {{ worker_connections {connections}; }}\n\
         http {{\n\
           access_log {here}/nginx.log combined buffer=32k flush=1s;\n\
           client_body_temp_path {here}/b; proxy_temp_path {here}/p; fastcgi_temp_path {here}/f;\n\
           uwsgi_temp_path {here}/u; scgi_temp_path {here}/s;\n\
           keepalive_requests 100000000; keepalive_timeout 300; client_max_body_size 0;\n\
           proxy_http_version 1.1; proxy_read_timeout 300; proxy_request_buffering off;\n\
           proxy_buffers 8 64k; proxy_busy_buffers_size 256k; proxy_max_temp_file_size 0;\n\
           upstream origin {{ server {origin}; keepalive 1024; keepalive_requests 100000000; }}\n\
           server {{ listen {address}{spoken} backlog=4096;\n\
             location / {{\n\
               proxy_pass http://origin;\n\
               proxy_set_header Connection \"\";\n\
               proxy_set_header Host $http_host;\n\
               proxy_set_header X-Forwarded-For $remote_addr;\n\
               proxy_set_header X-Forwarded-Proto $scheme;\n\
               proxy_set_header X-Forwarded-Host $http_host;\n\
             }}\n\
             {more}\n\
             location /socket {{\n\
               proxy_pass http://origin;\n\
               proxy_set_header Connection upgrade; proxy_set_header Upgrade $http_upgrade;\n\
               proxy_set_header Host $http_host;\n\
               proxy_set_header X-Forwarded-For $remote_addr;\n\
               proxy_set_header X-Forwarded-Proto $scheme;\n\
               proxy_set_header X-Forwarded-Host $http_host;\n\
             }}\n\
           }}\n\
         }}\n"
    );
    write(&path, &config)?;
    Peer::start(Command::new(binary).arg("-c").arg(&path), address)
}
