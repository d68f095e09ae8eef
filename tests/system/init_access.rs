//! Who may use the API, and from where.

use std::net::TcpStream;
use std::process::Command;

use jobinit_tests::binaries::program;
use jobinit_tests::http;
use jobinit_tests::init::Init;

#[test]
fn b01_loopback_only() {
    for address in ["0.0.0.0:0", "[::]:0", "10.0.0.1:1", "localhost:1", "1"] {
        let run =
            Command::new(program("init")).args(["--listen", address, "true"]).output().unwrap();
        let said = String::from_utf8_lossy(&run.stderr);
        assert_eq!(run.status.code(), Some(2), "{address}: {said}");
        assert!(said.contains("loopback"), "{address}: {said}");
    }
    let init = Init::start(&[]);
    let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", init.pid())).unwrap();
    let port = format!(":{:04X}", init.api().port());
    let own: Vec<_> = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields.len() > 3 && fields[3] == "0A" && fields[1].ends_with(&port))
        .map(|fields| fields[1].to_owned())
        .collect();
    assert_eq!(own, [format!("0100007F{port}")]);
}

#[test]
fn b01_ipv6_loopback_works() {
    let mut command = Command::new(program("init"));
    command.args(["--listen", "[::1]:0"]);
    let init = Init::launch(command);
    assert_eq!(init.get("/jobs").status, 200);
}

#[test]
fn b02_the_environment_gives_the_address() {
    let mut command = Command::new(program("init"));
    command.env("INIT_LISTEN", "127.0.0.1:0").env("PORT", "80");
    let init = Init::launch(command);
    assert_eq!(init.get("/jobs").status, 200);
    let refused = Command::new(program("init")).env("INIT_LISTEN", "0.0.0.0:1").output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn b02_the_default_is_port_1_of_127_0_0_1() {
    // In a network namespace of its own, where nobody else has that port.
    let script = "ip link set lo up && exec \"$0\" -- \
                  sh -c 'test $INIT_API = 127.0.0.1:1 && curl -sf http://127.0.0.1:1/jobs'";
    let run = Command::new("unshare")
        .args(["-n", "sh", "-c", script])
        .arg(program("init"))
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && shown.contains("\"boot\""), "{run:?}");
}

#[test]
fn b05_init_opens_no_config() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let run = Command::new("strace")
        .args(["-e", "trace=open,openat,openat2", "-o"])
        .arg(&trace)
        .arg(program("init"))
        .args(["--listen", "127.0.0.1:0", "/bin/true"])
        .status()
        .unwrap();
    assert!(run.success());
    let opened = std::fs::read_to_string(trace).unwrap();
    let files: Vec<_> = opened
        .lines()
        .filter_map(|line| line.split('"').nth(1))
        .filter(|path| !path.starts_with("/proc/") && !path.starts_with("/sys/"))
        .collect();
    assert_eq!(files, [""; 0], "{opened}");
}

#[test]
fn b25_another_user_is_refused() {
    let init = Init::start(&[]);
    let curl = |user: &str, more: &[&str]| {
        let url = format!("http://{}/job", init.api());
        let run = Command::new("setpriv")
            .args([
                "--reuid",
                user,
                "--regid",
                user,
                "--clear-groups",
                "curl",
                "-s",
                "-w",
                "%{http_code}",
            ])
            .args(more)
            .arg(url)
            .output()
            .unwrap();
        String::from_utf8_lossy(&run.stdout).into_owned()
    };
    let json = "Content-Type: application/json";
    let spec = r#"{"exec": "/bin/sleep", "args": ["600"]}"#;
    let said = curl("65534", &["-H", json, "-d", spec]);
    assert!(said.ends_with("403") && said.contains("only root"), "{said}");
    assert_eq!(init.get("/jobs").body, "[]");
    let said = curl("0", &["-H", json, "-d", spec]);
    assert!(said.ends_with("201"), "{said}");
}

#[test]
fn b25_hanging_up_early_makes_nobody_root() {
    // A socket that its owner has closed shows as user 0's in the kernel's tables. Somebody else
    // sends a job and is gone before init can look.
    let init = Init::start(&[]);
    let script = r#"
        use IO::Socket::INET;
        my $body = '{"exec": "/bin/sleep", "args": ["600"]}';
        my $head = "POST /job HTTP/1.1\r\nHost: localhost\r\n"
            . "Content-Type: application/json\r\nContent-Length: " . length($body) . "\r\n\r\n";
        for (1..300) {
            my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $ARGV[0]) or die $!;
            syswrite($s, $head . $body);
            close($s);
        }
    "#;
    let run = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "perl", "-e", script])
        .arg(init.api().port().to_string())
        .status()
        .unwrap();
    assert!(run.success());
    assert_eq!(init.get("/jobs").body, "[]");
}

#[test]
fn b26_web_pages_are_refused() {
    let init = Init::start(&[]);
    let spec = r#"{"exec": "/bin/sleep", "args": ["600"]}"#;
    let json = "Content-Type: application/json\r\n";
    for (headers, status) in [
        ("Content-Type: text/plain\r\n".to_owned(), 415),
        (String::new(), 415),
        ("Content-Type: application/x-www-form-urlencoded\r\n".to_owned(), 415),
        (format!("{json}Host: evil.example\r\n"), 403),
        (format!("{json}Host: 127.0.0.1.evil.example:1\r\n"), 403),
        (format!("{json}Host: localhost\r\nHost: localhost\r\n"), 400),
        (format!("{json}Origin: http://localhost\r\n"), 403),
        (format!("{json}Origin: null\r\n"), 403),
    ] {
        let answer = http::request(init.api(), "POST", "/job", &headers, spec);
        assert_eq!(answer.status, status, "{headers:?}");
        assert!(answer.json()["message"].is_string());
    }
    let read = http::request(init.api(), "GET", "/jobs", "Host: evil.example\r\n", "");
    assert_eq!(read.status, 403);
    assert_eq!(init.get("/jobs").body, "[]");
}

#[test]
fn b01_nobody_connects_from_outside() {
    // The machine's other addresses have nobody listening on the API's port.
    let init = Init::start(&[]);
    let port = init.api().port();
    assert!(TcpStream::connect(("127.0.0.2", port)).is_err());
}
