//! Lends init's API, which only loopback reaches, to the outside of a demo machine.
//!
//! `vm-relay FROM TO` accepts on FROM and connects each client to TO. As an app it also listens on
//! its `PORT`, where bootctl sees that it is up. Whoever reaches FROM may do anything, so this
//! belongs into a throw-away machine behind a forwarded loopback port, and nowhere else.

use std::io::{Write, copy, stderr};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::ExitCode;
use std::{env, thread};

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let [from, to] = words.as_slice() else {
        eprintln!("usage: vm-relay FROM TO, such as: vm-relay 0.0.0.0:81 127.0.0.1:1");
        return ExitCode::FAILURE;
    };
    let port = env::var("PORT").ok().map(|port| format!("127.0.0.1:{port}"));
    let sides: Result<Vec<_>, _> = port.iter().chain([from]).map(|at| listen(at)).collect();
    match sides {
        Ok(listeners) => thread::scope(|scope| {
            for listener in &listeners {
                scope.spawn(|| serve(listener, to));
            }
            ExitCode::SUCCESS
        }),
        Err(error) => {
            eprintln!("vm-relay: {error}");
            ExitCode::FAILURE
        }
    }
}

fn listen(at: &str) -> Result<TcpListener, String> {
    TcpListener::bind(at).map_err(|e| format!("cannot listen on {at}: {e}"))
}

fn serve(listener: &TcpListener, to: &str) -> ! {
    loop {
        let joined =
            listener.accept().and_then(|(client, _)| join(client, TcpStream::connect(to)?));
        if let Err(error) = joined {
            let _nobody_listens = writeln!(stderr(), "vm-relay: {error}");
            thread::sleep(std::time::Duration::from_millis(100));
        }
    }
}

/// Copies both ways, each in a thread, and passes on the end of each.
fn join(client: TcpStream, server: TcpStream) -> std::io::Result<()> {
    let (client_too, server_too) = (client.try_clone()?, server.try_clone()?);
    pass(client, server_too)?;
    pass(server, client_too)
}

fn pass(mut from: TcpStream, mut to: TcpStream) -> std::io::Result<()> {
    let pass = move || {
        // Either end may be gone at any time; that is the end of it.
        let _gone = copy(&mut from, &mut to);
        let _gone = to.shutdown(Shutdown::Write);
    };
    thread::Builder::new().stack_size(64 * 1024).spawn(pass).map(drop)
}
