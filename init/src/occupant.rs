//! Who has an address that a job wants.
//!
//! The kernel's tables of sockets name a socket by its number, and the process that has it is the
//! one with a descriptor of that number. Both are looked through for a short time only: the answer is
//! for people, and init has others to serve.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use crate::process::Process;
use crate::spec::{Address, UnixName};

/// How much of the processor's time a search takes at most.
const A_SEARCH: Duration = Duration::from_millis(50);
/// The next one does not begin before so many times as long has passed, so that jobs that try again
/// and again do not keep init busy with it.
const REST: u32 = 4;
/// The longest line of a table, which holds a path of 108 bytes at most.
const MAX_LINE: usize = 512;
/// `SO_ACCEPTCON` in the flags of a unix socket: it takes connections.
const ACCEPTS: u32 = 1 << 16;
/// The rank of sockets that do not wait for clients.
const LATE: u8 = 2;
/// The states of sockets that wait for clients: `LISTEN` of TCP, and what UDP has instead.
const LISTENS: [u8; 2] = [10, 7];

/// Looks for those who are in the way.
#[derive(Debug, Default)]
pub struct Search {
    /// The end of the pause after the last one.
    rests_until: Option<Instant>,
}

/// The number of a socket in the kernel's tables.
pub type SocketNumber = u64;

impl Search {
    /// The sockets that may be in the way at `address`, the likeliest first.
    pub fn sockets(&mut self, address: &Address) -> Option<(Vec<SocketNumber>, Running<'_>)> {
        let begun = Instant::now();
        if self.rests_until.is_some_and(|until| begun < until) {
            return None;
        }
        let running = Running { search: self, begun, used_before: used() };
        let mut found = match address {
            Address::Tcp(wanted) => running.inet("tcp", *wanted),
            Address::Udp(wanted) => running.inet("udp", *wanted),
            Address::Unix(name) | Address::UnixDatagram(name) => running.unix(name),
        };
        found.sort_by_key(|(rank, _)| *rank);
        Some((found.into_iter().map(|(_, number)| number).collect(), running))
    }
}

/// A search that is going on; init rests from searching when it is over.
#[derive(Debug)]
pub struct Running<'a> {
    search: &'a mut Search,
    begun: Instant,
    used_before: Duration,
}

/// How much of the processor's time init has used.
fn used() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::MAX, Duration::from)
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.search.rests_until = Some(Instant::now() + self.begun.elapsed() * REST);
    }
}

impl Running<'_> {
    fn is_over(&self) -> bool {
        used().saturating_sub(self.used_before) > A_SEARCH
    }

    fn inet(&self, protocol: &str, wanted: SocketAddr) -> Vec<(u8, SocketNumber)> {
        let mut tables = [format!("/proc/net/{protocol}"), format!("/proc/net/{protocol}6")];
        if wanted.is_ipv6() {
            tables.reverse();
        }
        // Connections may be very many, are shown behind the sockets that wait for them, and are seldom
        // in the way.
        let mut found = Vec::new();
        for waiting_only in [true, false] {
            for table in &tables {
                self.read(table, |line| inet_line(line, wanted, waiting_only), &mut found);
                if !found.is_empty() {
                    return found;
                }
            }
        }
        found
    }

    fn unix(&self, name: &UnixName) -> Vec<(u8, SocketNumber)> {
        let (name, mut found) = (name.to_string(), Vec::new());
        let find = |line: &str| unix_line(line, &name).map_or(Line::Other, Line::Found);
        self.read("/proc/net/unix", find, &mut found);
        found
    }

    /// Reads a table up to the first socket that waits for clients and is in the way.
    fn read(&self, table: &str, find: impl Fn(&str) -> Line, found: &mut Vec<(u8, SocketNumber)>) {
        let Ok(file) = File::open(table) else { return };
        let mut lines = BufReader::with_capacity(16 * 1024, file);
        let mut line = Vec::with_capacity(MAX_LINE);
        while !self.is_over() && lines.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            match str::from_utf8(&line).map(|line| find(line.trim_end_matches('\n'))) {
                Ok(Line::Found(new)) => {
                    found.push(new);
                    if new.0 < LATE {
                        return;
                    }
                }
                Ok(Line::End) => return,
                Ok(Line::Other) | Err(_) => {}
            }
            line.clear();
        }
    }

    /// A process that has one of these sockets, and the name of its program.
    #[must_use]
    pub fn process(&self, sockets: &[SocketNumber]) -> Option<(i32, String)> {
        let links: Vec<_> = sockets.iter().map(|number| format!("socket:[{number}]")).collect();
        let has_one = |pid: i32| {
            // Another user's cannot be read by who is not root.
            let Ok(fds) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
            let mut targets = fds.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
            targets
                .any(|target| self.is_over() || links.iter().any(|link| target == Path::new(link)))
        };
        let entries = fs::read_dir("/proc").ok()?;
        let mut pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let pid = pids.find(|pid| self.is_over() || has_one(*pid)).filter(|_| !self.is_over())?;
        Some((pid, Process::read(pid)?.name))
    }
}

/// What a line of a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// A socket that is in the way, and how far from the likeliest one.
    Found((u8, SocketNumber)),
    /// Another one.
    Other,
    /// What comes from here on is not wanted.
    End,
}

/// Reads `N: LOCAL REMOTE STATE QUEUES TIMER RETRIES UID TIMEOUT INODE …`.
fn inet_line(line: &str, wanted: SocketAddr, waiting_only: bool) -> Line {
    let state = line.split_whitespace().nth(3).and_then(|state| u8::from_str_radix(state, 16).ok());
    if waiting_only && state.is_some_and(|state| !LISTENS.contains(&state)) {
        return Line::End;
    }
    let ranked = |state: u8, rank: u8| rank + LATE * u8::from(!LISTENS.contains(&state));
    let found = inet_socket(line, wanted).zip(state);
    found.map_or(Line::Other, |((rank, number), state)| Line::Found((ranked(state, rank), number)))
}

/// The socket of a line, and whether its address is a wider or narrower one.
fn inet_socket(line: &str, wanted: SocketAddr) -> Option<(u8, SocketNumber)> {
    let mut fields = line.split_whitespace().skip(1);
    let local = fields.next()?;
    let port = local.rsplit_once(':')?.1;
    if u16::from_str_radix(port, 16) != Ok(wanted.port()) {
        return None;
    }
    let number = fields.nth(7)?.parse().ok().filter(|number| *number != 0)?;
    let local = inet_name(local)?;
    let (here, there) = (local.ip().to_canonical(), wanted.ip().to_canonical());
    let is_met = here == there || here.is_unspecified() || there.is_unspecified();
    // A socket for all addresses of IPv6 has those of IPv4, too, and is as near as one for all of them.
    let is_one_kind = here.is_ipv4() == there.is_ipv4();
    let covers = |ip: IpAddr| ip.is_ipv6() && ip.is_unspecified();
    let meets = is_met && (is_one_kind || covers(here) || covers(there));
    meets.then_some((u8::from(here != there), number))
}

/// An address as the tables write it: each 32-bit word in the machine's own byte order.
fn inet_name(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(ip.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    let ip = match ip.len() {
        8 => IpAddr::from(word(0)?),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            IpAddr::from(<[u8; 16]>::try_from(words.concat()).ok()?)
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Reads `ADDRESS: COUNT PROTOCOL FLAGS TYPE STATE INODE PATH`, as far as there is a path. Accepted
/// connections are shown with the path of the socket that they came to.
fn unix_line(line: &str, wanted: &str) -> Option<(u8, SocketNumber)> {
    let path = line.strip_suffix(wanted)?;
    let mut fields = path.split_whitespace().skip(3);
    let flags = u32::from_str_radix(fields.next()?, 16).ok()?;
    let number = fields.nth(2)?.parse().ok().filter(|number| *number != 0)?;
    let rank = LATE * u8::from(flags & ACCEPTS == 0);
    // Nothing but the space before the path may be left.
    fields.next().is_none().then_some((rank, number)).filter(|_| path.ends_with(' '))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::net::{UnixDatagram, UnixListener};

    use super::*;

    fn finds(address: &Address) -> bool {
        // Among very many processes, the time may not do.
        (0..5).any(|_| {
            let mut search = Search::default();
            let (sockets, running) = search.sockets(address).unwrap();
            let found = running.process(&sockets).map(|(pid, _)| pid);
            found == Some(std::process::id().cast_signed())
        })
    }

    #[test]
    fn b23_the_owner_of_an_address_is_found() {
        for host in ["127.0.0.1", "0.0.0.0", "[::1]", "[::]"] {
            let tcp = TcpListener::bind(format!("{host}:0")).unwrap().local_addr().unwrap();
            let mut search = Search::default();
            assert!(search.sockets(&Address::Tcp(tcp)).unwrap().0.is_empty(), "{tcp} is closed");
            let listener = TcpListener::bind(format!("{host}:0")).unwrap();
            assert!(finds(&Address::Tcp(listener.local_addr().unwrap())), "tcp {host}");
            let socket = UdpSocket::bind(format!("{host}:0")).unwrap();
            assert!(finds(&Address::Udp(socket.local_addr().unwrap())), "udp {host}");
        }
        let all = TcpListener::bind("[::]:0").unwrap();
        let port = all.local_addr().unwrap().port();
        assert!(finds(&Address::Tcp(SocketAddr::from(([127, 0, 0, 1], port)))));
        let folder = tempfile_folder();
        let path = folder.join("a socket");
        let listener = UnixListener::bind(&path).unwrap();
        assert!(finds(&Address::Unix(UnixName::Path(path.clone()))));
        drop(listener);
        fs::remove_file(&path).unwrap();
        let _datagram = UnixDatagram::bind(&path).unwrap();
        assert!(finds(&Address::UnixDatagram(UnixName::Path(path.clone()))));
        fs::remove_dir_all(folder).unwrap();
    }

    fn tempfile_folder() -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("init-occupant-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn b23_lines_of_the_tables_are_read() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     \
                    0        0 4242 1 0000000000000000 100 0 0 10 0";
        let at = |text: &str| inet_line(line, text.parse().unwrap(), true);
        assert_eq!(at("127.0.0.1:8080"), Line::Found((0, 4242)));
        assert_eq!(at("0.0.0.0:8080"), Line::Found((1, 4242)));
        assert_eq!(at("[::]:8080"), Line::Found((1, 4242)));
        for other in ["127.0.0.1:8081", "127.0.0.2:8080", "[::1]:8080"] {
            assert_eq!(at(other), Line::Other, "{other}");
        }
        let connected = line.replace(" 0A ", " 01 ");
        let at = |only| inet_line(&connected, "127.0.0.1:8080".parse().unwrap(), only);
        assert_eq!((at(true), at(false)), (Line::End, Line::Found((2, 4242))));
        for other in ["", "  sl  local_address rem_address   st tx_queue rx_queue"] {
            assert_eq!(inet_line(other, "1.2.3.4:5".parse().unwrap(), true), Line::Other);
        }
        let line = "0000000000000000: 00000002 00000000 00010000 0001 01 777 /run/a b";
        assert_eq!(unix_line(line, "/run/a b"), Some((0, 777)));
        for other in ["b", "/run/a", "run/a b", "", "7 /run/a b"] {
            assert_eq!(unix_line(line, other), None, "{other:?}");
        }
        assert_eq!(unix_line("0: 1 2 3", "/x"), None);
    }

    #[test]
    fn b23_a_search_is_followed_by_a_rest() {
        let mut search = Search::default();
        let address = Address::Unix(UnixName::Abstract("nobody's".into()));
        let running = search.sockets(&address).map(|(_, running)| running);
        std::thread::sleep(Duration::from_millis(500));
        drop(running);
        assert!(search.sockets(&address).is_none());
        search.rests_until = Some(Instant::now());
        assert!(search.sockets(&address).is_some());
    }
}
