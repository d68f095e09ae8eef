//! The demo's own app: what an app has to do for jobinit, and not a line more.
//!
//! It listens on the `PORT` that it is given, answers `/healthz` once it can serve, and on TERM
//! finishes the requests it has before it exits with 0. `/` tells what reached it, `/slow?ms=N`
//! takes its time.

mod gate;
mod page;
mod request;

use std::io::{BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use std::{env, io, thread};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use gate::Gate;
use request::Request;

/// How long a connection may say nothing; longer than a proxy keeps one in its pool.
const IDLE: Duration = Duration::from_secs(75);
/// A connection needs little stack.
const STACK: usize = 128 * 1024;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo-hello: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let port = env::var("PORT").map_err(|_| "PORT must say where to listen, such as PORT=9000")?;
    let port: u16 = port.parse().map_err(|_| format!("PORT={port} is not a port number"))?;
    let mut signals =
        Signals::new([SIGTERM, SIGINT]).map_err(|e| format!("cannot wait for signals: {e}"))?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .map_err(|e| format!("cannot listen on 127.0.0.1:{port}: {e}"))?;
    let gate = Arc::new(Gate::default());
    println!("demo-hello: serving on 127.0.0.1:{port}");
    let doorman = Arc::clone(&gate);
    thread::spawn(move || accept(&listener, &doorman));
    signals.forever().next();
    println!("demo-hello: told to end, {} requests to finish", gate.close());
    gate.wait_until_quiet();
    Ok(())
}

/// Takes connections, each with a thread of its own, as many as the gate lets in.
fn accept(listener: &TcpListener, gate: &Arc<Gate>) {
    loop {
        gate.enter();
        let inside = Arc::clone(gate);
        let Ok((stream, _)) = listener.accept() else {
            gate.leave();
            thread::sleep(Duration::from_millis(10));
            continue;
        };
        let serve = move || {
            // A client that goes away is its own business.
            let _gone = serve(&stream, &inside);
            inside.leave();
        };
        if thread::Builder::new().stack_size(STACK).spawn(serve).is_err() {
            gate.leave();
        }
    }
}

/// Answers one request after another until the client or the gate closes.
fn serve(stream: &TcpStream, gate: &Gate) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(IDLE))?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = Request::read(&mut reader)? {
        let _flight = gate.request();
        let last = gate.is_closed() || request.wants_close;
        let mut writer = stream;
        writer.write_all(&page::answer(&request, last))?;
        if last {
            break;
        }
    }
    Ok(())
}
