//! `replaced`: requests that fail while the same Node app is restarted under the same load: by bootctl; by pm2,
//! `reload` of a cluster; by supervisord, whose two processes nginx has behind it, `restart` of both and of
//! one after the other.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use jobinit_tests::bootctl::Site;
use jobinit_tests::fates::Load;

use crate::peers::free;
use crate::report::{Row, target};

const RESTARTS: usize = 10;
const INSTANCES: u16 = 2;
/// Clients that GET, POST, and speak over a `WebSocket`: only the first, whom all understand.
const CLIENTS: [usize; 3] = [8, 0, 0];
/// How much is answered between two restarts.
const BETWEEN: u64 = 100;
const HOST: &str = "node.test";
/// With what an app has to load, it listens after 200 ms; told to end, by whichever signal, it finishes what it has
/// begun, as the documentation of all of them asks for.
const APP: &str = r"
const http = require('http');
const server = http.createServer((request, answer) => {
  request.resume();
  request.on('end', () => setTimeout(() => {
    answer.writeHead(200, {'Content-Length': SUM.length});
    answer.end(SUM);
  }, 2));
});
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => server.close(() => process.exit(0)));
setTimeout(() => server.listen(process.env.PORT, '127.0.0.1'), 200);
";

/// A way to restart, and how to get there.
type Way = (&'static str, fn(&Path) -> Result<Stage, String>);

const WAYS: [Way; 4] = [
    ("bootctl restart", bootctl),
    ("pm2 reload, cluster mode", pm2),
    ("supervisorctl restart, nginx in front", at_once),
    ("supervisorctl restart one by one, nginx in front", one_by_one),
];

/// The app behind an address, and how it is restarted.
struct Stage {
    address: SocketAddr,
    restart: Vec<Command>,
    _held: Held,
}

/// What ends with the stage.
enum Held {
    Site(#[expect(dead_code, reason = "it is dropped")] Box<Site>),
    Children(Vec<Child>),
    Pm2(PathBuf),
}

impl Drop for Held {
    fn drop(&mut self) {
        match self {
            Self::Site(_) => {}
            Self::Children(children) => {
                for child in children {
                    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
                    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
                    let _ = child.wait();
                }
            }
            Self::Pm2(home) => {
                let _ = quiet(Command::new(program_of_pm2()).arg("kill").env("PM2_HOME", home))
                    .status();
            }
        }
    }
}

pub fn measure() -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, prepare) in WAYS {
        match once(prepare) {
            Ok((failed, answered, each)) => {
                let row = |what: &str, value, unit| {
                    Row::new("replaced", &format!("{name}: {what}"), value, unit)
                };
                rows.push(row(&format!("failed in {RESTARTS}"), failed, "requests"));
                rows.push(row("answered", answered, "requests"));
                rows.push(row("one restart", each, "ms"));
            }
            Err(why) => eprintln!("bench: SKIPPED {name}: {why}"),
        }
    }
    rows
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52 requests")]
fn once(prepare: fn(&Path) -> Result<Stage, String>) -> Result<(f64, f64, f64), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let sum = format!("{:016x}", jobinit_tests::proxyd::checksum(&[]));
    let app = APP.replace("SUM.length", &sum.len().to_string()).replace("SUM", &format!("'{sum}'"));
    fs::write(folder.path().join("server.js"), app).map_err(|error| error.to_string())?;
    let mut stage = prepare(folder.path())?;
    answers(stage.address)?;
    let load = Load::start(stage.address, HOST, CLIENTS);
    load.go_on(BETWEEN);
    let mut took = 0.0;
    for _ in 0..RESTARTS {
        let begun = Instant::now();
        for command in &mut stage.restart {
            let ended = quiet(command).status().map_err(|error| error.to_string())?;
            if !ended.success() {
                return Err(format!("{command:?}: {ended}"));
            }
        }
        took += begun.elapsed().as_secs_f64() * 1e3;
        load.go_on(BETWEEN);
    }
    let fates = load.stop();
    let failures = fates.failures.lock().expect("no client panics");
    if let Some(failure) = failures.first() {
        println!("  {} failed, such as {:?}", failures.len(), failure.why);
    }
    let answered = fates.gets.load(Ordering::SeqCst) as f64;
    Ok((failures.len() as f64, answered, took / RESTARTS as f64))
}

/// Waits for a first answer.
fn answers(address: SocketAddr) -> Result<(), String> {
    let by = Instant::now() + Duration::from_secs(20);
    let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
    loop {
        let answer = jobinit_tests::http::raw(address, request.as_bytes()).unwrap_or_default();
        if answer.starts_with(b"HTTP/1.1 200 ") {
            return Ok(());
        }
        if Instant::now() > by {
            return Err(format!("does not answer: {}", String::from_utf8_lossy(&answer)));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn bootctl(folder: &Path) -> Result<Stage, String> {
    let node = node()?;
    let script = folder.join("server.js");
    let file = format!(
        "exec = \"{}\"\nargs = [\"{}\"]\ninstances = {INSTANCES}\n",
        node.display(),
        script.display()
    );
    let site = Site::boot(&[("node.test.toml", &file)]);
    site.wait_for(HOST, "running");
    let mut restart = Command::new(jobinit_tests::binaries::program("bootctl"));
    restart.args(["restart", HOST]).env("BOOTCTL_SOCKET", site.socket());
    Ok(Stage { address: site.proxy, restart: vec![restart], _held: Held::Site(Box::new(site)) })
}

fn pm2(folder: &Path) -> Result<Stage, String> {
    let (program, home, address) = (program_of_pm2(), folder.join("pm2"), free());
    if !program.exists() {
        return Err("is not installed".to_owned());
    }
    let started = quiet(Command::new(&program).arg("start").arg(folder.join("server.js")))
        .args(["--name", "app", "-i", &INSTANCES.to_string()])
        .env("PM2_HOME", &home)
        .env("PORT", address.port().to_string())
        .status();
    let held = Held::Pm2(home.clone());
    if !started.is_ok_and(|status| status.success()) {
        return Err("does not start".to_owned());
    }
    let mut reload = Command::new(program);
    reload.args(["reload", "app"]).env("PM2_HOME", home);
    Ok(Stage { address, restart: vec![reload], _held: held })
}

fn at_once(folder: &Path) -> Result<Stage, String> {
    supervisord(folder, &[&["node:*"]])
}

fn one_by_one(folder: &Path) -> Result<Stage, String> {
    supervisord(folder, &[&["node:node_00"], &["node:node_01"]])
}

fn supervisord(folder: &Path, restarts: &[&[&str]]) -> Result<Stage, String> {
    let programs = target().join("peers/supervisor/bin");
    if !programs.join("supervisord").exists() {
        return Err("is not installed".to_owned());
    }
    let nginx = Path::new("/usr/sbin/nginx");
    if !nginx.exists() {
        return Err("nginx is not installed".to_owned());
    }
    let (first, address) = (in_a_row()?, free());
    let here = folder.display();
    let conf = folder.join("supervisord.conf");
    let text = format!(
        "[supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile={here}/pid\n\
         [unix_http_server]\nfile={here}/sock\n\
         [rpcinterface:supervisor]\n\
         supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n\
         [supervisorctl]\nserverurl=unix://{here}/sock\n\
         [program:node]\ncommand=/usr/bin/env PORT={port} {node} {here}/server.js\n\
         numprocs={INSTANCES}\nnumprocs_start=0\nprocess_name=%(program_name)s_%(process_num)02d\n\
         startsecs=1\nstdout_logfile=NONE\nstderr_logfile=NONE\n",
        node = node()?.display(),
        port = "%(process_num)d",
    );
    // The port is a file's affair: the number of the process is all that there is to tell them apart.
    let mut script = fs::read_to_string(folder.join("server.js")).map_err(|e| e.to_string())?;
    let _ = write!(script, "\n// On ports from {first}.\n");
    let script = script.replace("process.env.PORT", &format!("{first} + Number(process.env.PORT)"));
    fs::write(folder.join("server.js"), script).map_err(|error| error.to_string())?;
    fs::write(&conf, text).map_err(|error| error.to_string())?;
    let mut children = Vec::new();
    let mut start = |command: &mut Command| -> Result<(), String> {
        children.push(quiet(command).spawn().map_err(|error| error.to_string())?);
        Ok(())
    };
    start(Command::new(programs.join("supervisord")).arg("-c").arg(&conf))?;
    let servers = (0..INSTANCES).map(|n| format!("server 127.0.0.1:{};", first + n));
    let servers = servers.collect::<Vec<_>>().concat();
    let user = if nix::unistd::geteuid().is_root() { "user root;" } else { "" };
    let nginx_conf = folder.join("nginx.conf");
    let text = format!(
        "daemon off; {user} worker_processes 1; pid {here}/nginx.pid; error_log {here}/nginx.err crit;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; client_body_temp_path {here}/b; proxy_temp_path {here}/p;\n\
           fastcgi_temp_path {here}/f; uwsgi_temp_path {here}/u; scgi_temp_path {here}/s;\n\
           upstream app {{ {servers} keepalive 16; }}\n\
           server {{ listen {address}; location / {{ proxy_pass http://app; proxy_http_version 1.1;\n\
             proxy_set_header Connection \"\"; proxy_set_header Host $host; }} }} }}\n"
    );
    fs::write(&nginx_conf, text).map_err(|error| error.to_string())?;
    start(Command::new(nginx).arg("-c").arg(&nginx_conf))?;
    let restart = restarts.iter().map(|words| {
        let mut command = Command::new(programs.join("supervisorctl"));
        command.arg("-c").arg(&conf).arg("restart").args(*words);
        command
    });
    Ok(Stage { address, restart: restart.collect(), _held: Held::Children(children) })
}

/// The first port of as many as there are instances; below those that the kernel gives to connections, of which one
/// might have it while nobody listens there.
fn in_a_row() -> Result<u16, String> {
    let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let mut all = (20_000..30_000).step_by(usize::from(INSTANCES));
    let found = all.find(|first| (0..INSTANCES).all(|n| is_free(first + n)));
    found.ok_or_else(|| "no ports are free".to_owned())
}

fn node() -> Result<PathBuf, String> {
    let places = ["/usr/bin/node", "/usr/local/bin/node"];
    let found = places.into_iter().map(PathBuf::from).find(|path| path.exists());
    found.ok_or_else(|| "node is not installed".to_owned())
}

fn program_of_pm2() -> PathBuf {
    target().join("peers/pm2/node_modules/.bin/pm2")
}

fn quiet(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}
