//! A server that does nothing: it answers whatever comes in with the same bytes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

/// As long as init's own answer to a job that has ended.
const BODY: usize = 200;

pub fn run(listen: SocketAddr) -> ! {
    let listener = TcpListener::bind(listen).expect("the address is free");
    let answer = format!(
        "HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: {BODY}\r\n\r\n{}",
        "x".repeat(BODY)
    );
    loop {
        let Ok((mut stream, _)) = listener.accept() else { continue };
        let _ = stream.set_nodelay(true);
        let mut request = [0; 4096];
        while stream.read(&mut request).is_ok_and(|length| length > 0) {
            if stream.write_all(answer.as_bytes()).is_err() {
                break;
            }
        }
    }
}
