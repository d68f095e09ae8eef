//! proxyd: what scanners have to say about its TLS.

use std::fs;
use std::io::Write;
use std::process::Command;

use jobinit_tests::proxyd::{Authority, Backend, Proxyd};
use jobinit_tests::tools;
use serde_json::Value;

/// What testssl.sh is asked: protocols, who chooses the cipher, fields of answers, and each weakness that has a name. All of it
/// takes over a minute. Which ciphers there are is what sslscan is asked, and the certificate is a test's own.
const ASKED: [&str; 4] = ["-p", "-P", "-h", "-U"];
/// What it says of the openssl that it has found.
const OF_ITSELF: &str = "engine_problem";

#[test]
fn o21_testssl_finds_nothing_to_complain_about() {
    if !tools::present(&["testssl"]) {
        return;
    }
    let (proxyd, authority) = (Proxyd::start_secure(&[]), Authority::default());
    // What an app has to say to browsers is nothing of ours.
    let backend = Backend::start(|_, out| {
        let own = "Content-Security-Policy: default-src 'self'\r\nX-Content-Type-Options: nosniff";
        write!(out, "HTTP/1.1 200 OK\r\n{own}\r\nContent-Length: 2\r\n\r\nok")?;
        Ok(true)
    });
    proxyd.put_route("app.test", "app");
    proxyd.put_target("app", "1", &backend.target());
    proxyd.put_certificate("app", &authority.pair_of_season(&["app.test"]));
    // It asks without a name, too.
    proxyd.put_tls(r#"{"hsts":{"max_age":31536000},"default_certificate":"app"}"#);
    let path = |name: &str| proxyd.folder.path().join(name);
    fs::write(path("authority.pem"), authority.pem()).unwrap();
    let mut testssl = Command::new("testssl");
    testssl.args(["--quiet", "--warnings", "off", "--color", "0"]);
    testssl.args(["--nodns", "none", "--ip", "127.0.0.1"]);
    testssl.arg("--add-ca").arg(path("authority.pem"));
    testssl.arg("--jsonfile").arg(path("found.json")).args(ASKED);
    let said = testssl
        .arg(format!("https://app.test:{}", proxyd.secure_address().port()))
        .output()
        .unwrap();
    let found = fs::read_to_string(path("found.json")).unwrap_or_default();
    let found: Vec<Value> = serde_json::from_str(&found)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&said.stdout)));
    let told = |it: &Value| format!("{}: {} {}", it["severity"], it["id"], it["finding"]);
    let good = |it: &&Value| {
        matches!(it["severity"].as_str(), Some("OK" | "INFO")) || it["id"] == OF_ITSELF
    };
    let bad: Vec<String> = found.iter().filter(|it| !good(it)).map(told).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    let is_there = |id: &str| found.iter().any(|it| it["id"] == id);
    let last = ["TLS1_3", "cipher_order", "HSTS_time", "secure_renego", "RC4"];
    assert!(last.iter().all(|id| is_there(id)), "{found:#?}");
}

#[test]
fn o21_sslscan_finds_nothing_to_complain_about() {
    if !tools::present(&["sslscan"]) {
        return;
    }
    let (proxyd, authority) = (Proxyd::start_secure(&[]), Authority::default());
    proxyd.put_certificate("app", &authority.pair(&["app.test"]));
    let output = Command::new("sslscan")
        .args(["--no-colour", "--no-check-certificate", "--sni-name=app.test"])
        // Each of these waits for seconds for what never comes.
        .args(["--no-groups", "--no-fallback", "--no-heartbleed"])
        .arg(proxyd.secure_address().to_string())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    for version in ["SSLv2", "SSLv3", "TLSv1.0", "TLSv1.1"] {
        let line = said.lines().find(|line| line.starts_with(version));
        assert!(line.is_some_and(|line| line.ends_with("disabled")), "{said}");
    }
    assert!(
        said.contains("TLSv1.3   enabled") && said.contains("renegotiation not supported"),
        "{said}"
    );
    let ciphers =
        said.lines().filter(|line| line.starts_with("Accepted") || line.starts_with("Preferred"));
    let good = |line: &str| line.contains("GCM") || line.contains("CHACHA20");
    let forward_secret = |line: &str| line.contains("TLSv1.3") || line.contains("ECDHE-");
    let all: Vec<&str> = ciphers.collect();
    assert_eq!(all.len(), 6, "{said}");
    assert!(all.iter().all(|line| good(line) && forward_secret(line)), "{said}");
}
