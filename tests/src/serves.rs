//! An app that can be loaded: sums up bodies, and echoes over a `WebSocket`; or takes calls.

use std::env::var;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use crate::calls;
use crate::proxyd::checksum;
use crate::proxyd::websocket::{SWITCHED, frame, read_frame};

/// Listens on `PORT` until it is ended; with `CALLS` it takes calls.
pub fn run() {
    let port: u16 = var("PORT").expect("PORT is set").parse().expect("a port");
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    if var("CALLS").is_ok() {
        return calls::serve(listener);
    }
    for stream in listener.incoming().flatten() {
        drop(stream.set_nodelay(true));
        thread::spawn(move || serve(&stream));
    }
}

fn serve(stream: &TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        let (mut length, mut upgrade) = (0, false);
        loop {
            let mut field = String::new();
            reader.read_line(&mut field).ok().filter(|count| *count > 0)?;
            let field = field.trim_end().to_ascii_lowercase();
            if field.is_empty() {
                break;
            }
            if let Some(value) = field.strip_prefix("content-length: ") {
                length = value.parse().ok()?;
            }
            upgrade |= field == "upgrade: websocket";
        }
        if upgrade {
            return echo(stream, &mut reader);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let text = format!("{:016x}", checksum(&body));
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
        (&*stream).write_all(answer.as_bytes()).ok()?;
    }
}

fn echo(mut stream: &TcpStream, reader: &mut impl Read) -> Option<()> {
    stream.write_all(SWITCHED.as_bytes()).ok()?;
    let mut exactly = |count| {
        let mut bytes = vec![0; count];
        reader.read_exact(&mut bytes).ok().map(|()| bytes)
    };
    while let Some((opcode, payload)) = read_frame(&mut exactly) {
        stream.write_all(&frame(opcode, &payload, false)).ok()?;
        if opcode == 8 {
            break;
        }
    }
    Some(())
}
