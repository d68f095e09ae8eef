//! proxyd: ten thousand names are looked up, and their certificates swapped, at a cost that stays the same.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use jobinit_tests::cost::{cpu, pss};
use jobinit_tests::proxyd::{Authority, Pair, Proxyd, Trust};
use rustls::ClientConnection;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::version::TLS12;

const CERTIFICATES: usize = 50;
/// Of each certificate.
const NAMES: usize = 200;
/// How often all of it is done, and what it is: 10,000 lookups and 1,000 swaps.
const ROUNDS: usize = 4;
const LOOKUPS: usize = 2_500;
const SWAPS: usize = 250;
/// In how many parts it is measured.
const PARTS: usize = 10;
/// KiB; half a kilobyte that is kept of each lookup, or a tenth of a certificate of each swap, would be more.
const GROWTH: u64 = 2048;

/// All of them are of one length.
fn name(certificate: usize, name: usize) -> String {
    format!("n{name:03}.c{certificate:02}.test")
}

/// A certificate, and the end of it, by which it is known.
struct Shown {
    pair: Pair,
    end: Vec<u8>,
}

impl Shown {
    fn new(authority: &Authority, certificate: usize) -> Shown {
        let names: Vec<String> = (0..NAMES).map(|at| name(certificate, at)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let pair = authority.pair(&names);
        let der = CertificateDer::from_pem_slice(pair.chain.as_bytes()).unwrap();
        Shown { end: der[der.len() - 32..].to_vec(), pair }
    }
}

/// What a client says first. Of TLS 1.2, in which certificates are shown in the open.
struct Hello {
    bytes: Vec<u8>,
    /// Where in them the name is.
    name: usize,
}

impl Hello {
    fn new(authority: &Authority) -> Hello {
        let (mut bytes, known) = (Vec::new(), name(0, 0));
        let config = Trust::new(authority, None, &[&TLS12]).config();
        let mut client = ClientConnection::new(config, known.clone().try_into().unwrap()).unwrap();
        client.write_tls(&mut bytes).unwrap();
        let name = find(known.as_bytes(), &bytes).expect("it is not encrypted");
        Hello { bytes, name }
    }

    /// Asks for a name, and goes when its certificate has come.
    fn ask(&self, to: SocketAddr, name: &str, shown: &Shown) {
        let mut hello = self.bytes.clone();
        hello[self.name..self.name + name.len()].copy_from_slice(name.as_bytes());
        let mut stream = TcpStream::connect(to).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(&hello).unwrap();
        let (mut heard, mut piece) = (Vec::new(), [0; 16_384]);
        while find(&shown.end, &heard).is_none() {
            let count = stream.read(&mut piece).unwrap();
            assert_ne!(count, 0, "{name}: {} bytes of something else", heard.len());
            heard.extend_from_slice(&piece[..count]);
        }
    }
}

fn find(what: &[u8], within: &[u8]) -> Option<usize> {
    within.windows(what.len()).position(|part| part == what)
}

/// The proxy's time for something that is done so often, when it was least disturbed.
fn each(proxyd: &Proxyd, count: usize, mut work: impl FnMut(usize)) -> Duration {
    let part = count / PARTS;
    let times = (0..PARTS).map(|at| {
        let before = cpu(proxyd.pid());
        (at * part..(at + 1) * part).for_each(&mut work);
        cpu(proxyd.pid()).saturating_sub(before) / u32::try_from(part).unwrap()
    });
    times.min().unwrap()
}

#[test]
fn o21_lookups_and_swaps_cost_the_same_however_many_there_were() {
    let (proxyd, authority) = (Proxyd::start_secure(&[]), Authority::default());
    let (address, hello) = (proxyd.secure_address(), Hello::new(&authority));
    let sets = [(); 2]
        .map(|()| (0..CERTIFICATES).map(|at| Shown::new(&authority, at)).collect::<Vec<_>>());
    proxyd.put_certificate("c0", &sets[0][0].pair);
    let look = |at: usize| hello.ask(address, &name(0, at % NAMES), &sets[0][0]);
    each(&proxyd, 500, look);
    let alone = each(&proxyd, 1_000, look);
    for (at, shown) in sets[0].iter().enumerate() {
        proxyd.put_certificate(&format!("c{at}"), &shown.pair);
    }
    // Which of its two each of them is.
    let mut now = vec![0; CERTIFICATES];
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        let swap = each(&proxyd, SWAPS, |turn| {
            let at = turn % CERTIFICATES;
            now[at] = 1 - now[at];
            proxyd.put_certificate(&format!("c{at}"), &sets[now[at]][at].pair);
        });
        let look = each(&proxyd, LOOKUPS, |turn| {
            // Each name once in all.
            let (at, which) = (turn % CERTIFICATES, round * NAMES / ROUNDS + turn / CERTIFICATES);
            hello.ask(address, &name(at, which), &sets[now[at]][at]);
        });
        rounds.push((swap, look, pss(proxyd.pid())));
    }
    println!("one certificate: {alone:?} a lookup; then, swap, lookup, KiB: {rounds:?}");
    // What is done for the first time needs its memory. Whatever grew with names or with swaps would grow by far more.
    let (early, late) = rounds.split_at(ROUNDS / 2);
    let least = |rounds: &[(Duration, Duration, u64)]| {
        let swap = rounds.iter().map(|(swap, _, _)| *swap).min().unwrap();
        (swap, rounds.iter().map(|(_, look, _)| *look).min().unwrap())
    };
    let ((early_swap, early_look), (late_swap, late_look)) = (least(early), least(late));
    assert!(early_look < alone * 2, "{early_look:?} among 10,000 names, {alone:?} among 200");
    assert!(late_look < early_look * 2 && late_swap < early_swap * 2, "{rounds:?}");
    assert!(rounds[ROUNDS - 1].2 < rounds[1].2 + GROWTH, "{rounds:?}");
}
