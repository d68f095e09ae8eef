//! proxyd: ten thousand random and mutated requests. It lives on and answers the next good one.

use std::io::{Read, Write};
use std::thread;

use jobinit_tests::proxyd::{Backend, Mutations, Proxyd, Random};

const REQUESTS: u64 = 10_000;
const THREADS: u64 = 4;

/// What is mutated.
const SEEDS: &[&str] = &[
    "GET /path?query HTTP/1.1\r\nHost: app.test\r\nUser-Agent: fuzz\r\nAccept: */*\r\n\r\n",
    "POST /form HTTP/1.1\r\nHost: app.test\r\nContent-Length: 11\r\n\r\nhello=world",
    "POST /chunks HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n\
     5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nTrailer: x\r\n\r\n",
    "GET http://app.test/absolute HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n",
    "GET /ws HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nframes",
    "PUT /expect HTTP/1.1\r\nHost: app.test\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    "HEAD / HTTP/1.0\r\nHost: app.test\r\nConnection: keep-alive\r\n\r\n",
    "GET /a HTTP/1.1\r\nHost: app.test\r\n\r\nGET /b HTTP/1.1\r\nHost: app.test\r\n\r\n",
];

/// What mutations put in.
const PIECES: &[&str] = &[
    "\r\n",
    "\n",
    "\r",
    "\0",
    " ",
    "\t",
    ":",
    ",",
    ";",
    "0",
    "-1",
    "ffffffffffffffff",
    "\u{7f}",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Host: app.test\r\n",
    "\r\n\r\n",
    "Connection: close\r\n",
    "HTTP/1.1",
    "HTTP/2.0",
    "0\r\n\r\n",
    "GET / ",
    "é",
    "Content-Length",
];

const MUTATIONS: Mutations = Mutations { seeds: SEEDS, pieces: PIECES, cut: true };

fn request(random: &mut Random) -> Vec<u8> {
    if random.below(10) == 0 {
        return (0..random.below(2000)).map(|_| random.next().to_le_bytes()[0]).collect();
    }
    MUTATIONS.one(random)
}

#[test]
fn p09_ten_thousand_hostile_requests() {
    let seed = std::env::var("FUZZ_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()) << 20);
    println!("to repeat: FUZZ_SEED={seed}");
    // The judge: it panics at any request that is ambiguous or not as the proxy writes them.
    let backend = Backend::start(|seen, out| {
        assert!(seen.field("x-forwarded-for").is_some(), "{seen:?}");
        write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", seen.target.len())?;
        if seen.method != "HEAD" {
            out.write_all(seen.target.as_bytes())?;
        }
        Ok(true)
    });
    let mut proxyd = Proxyd::with_target(&backend.target());
    let address = proxyd.address;
    let attacks: Vec<_> = (0..THREADS)
        .map(|number| {
            thread::spawn(move || {
                let mut random = Random(seed + number);
                for round in 0..REQUESTS / THREADS {
                    let bytes = request(&mut random);
                    let mut client = jobinit_tests::proxyd::Client::connect(address);
                    // Refused early, it may not take the rest.
                    let _ = client.try_send(&bytes);
                    client.finish_sending();
                    let mut answer = Vec::new();
                    let end = client.stream.read_to_end(&mut answer);
                    let timed_out =
                        end.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
                    assert!(!timed_out, "hangs on {:?}", String::from_utf8_lossy(&bytes));
                    if round % 5 == 0 {
                        let mut client = jobinit_tests::proxyd::Client::connect(address);
                        assert_eq!(client.get("/good").text(), "/good");
                    }
                }
            })
        })
        .collect();
    for attack in attacks {
        attack.join().unwrap_or_else(|_| panic!("to repeat: FUZZ_SEED={seed}"));
    }
    assert!(proxyd.is_running());
    assert_eq!(
        proxyd.state().services["app"].targets["1"].in_flight,
        0,
        "nothing is left in flight"
    );
    assert!(!proxyd.stderr().contains("panicked"), "{}", proxyd.stderr());
}
