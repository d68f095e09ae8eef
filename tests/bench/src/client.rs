//! A client with one keep-alive connection and nothing to wait for but the answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

pub struct Client(TcpStream);

impl Client {
    /// Waits until somebody listens there.
    pub fn connect(to: SocketAddr) -> Client {
        let by = Instant::now() + Duration::from_secs(10);
        loop {
            match TcpStream::connect(to) {
                Ok(stream) => {
                    stream.set_nodelay(true).expect("a socket option");
                    return Client(stream);
                }
                Err(error) => assert!(Instant::now() < by, "{to}: {error}"),
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Sends a request whose answer comes in one piece, and answers how long that took in
    /// microseconds.
    pub fn ask(&mut self, request: &[u8]) -> f64 {
        let begun = Instant::now();
        self.0.write_all(request).expect("the server is there");
        let mut answer = [0; 4096];
        let length = self.0.read(&mut answer).expect("the server is there");
        let took = begun.elapsed().as_secs_f64() * 1e6;
        let head = String::from_utf8_lossy(&answer[..length]).into_owned();
        assert!(head.starts_with("HTTP/1.1 20"), "{head}");
        took
    }

    /// The whole list of jobs, and the end of the connection.
    pub fn list(mut self) -> String {
        let request = b"GET /jobs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        self.0.write_all(request).expect("the server is there");
        std::io::read_to_string(self.0).expect("the server is there")
    }
}

/// A request with a JSON body, or without one if it is empty.
pub fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
