//! An authority of ours that proves nothing and says what a test wants it to say: when to renew, which profiles
//! there are, and that it has had enough. A proxy in front of it speaks TLS.

use std::io::{self, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{Authority, Backend, Proxyd, Seen};

/// What it knows, and how it is.
#[derive(Default)]
struct Books {
    /// Where clients find it.
    address: String,
    /// What was ordered, in this order.
    orders: Vec<Value>,
    certificates: Vec<String>,
    /// The certificates that somebody has asked about.
    asked: Vec<String>,
    /// Seconds for which it wants no order.
    closed: Option<u32>,
}

/// It runs until it is dropped.
pub struct Mint {
    books: Arc<Mutex<Books>>,
    front: Proxyd,
    _backend: Backend,
}

impl Mint {
    pub fn start() -> Mint {
        let books = Arc::new(Mutex::new(Books::default()));
        let own = Authority::new("of certificates that mean nothing");
        let front = Proxyd::start_secure(&[]);
        let shared = Arc::clone(&books);
        let api = Authority::new("of its API");
        front.put_certificate("api", &api.pair(&["127.0.0.1"]));
        front.put_tls(r#"{"default_certificate":"api"}"#);
        std::fs::write(front.folder.path().join("root.pem"), api.pem()).unwrap();
        let backend = Backend::start(move |seen, out| {
            answer(&mut shared.lock().unwrap(), &own, seen, out).map(|()| true)
        });
        front.put_route("127.0.0.1", "mint");
        front.put_target("mint", "1", &backend.target());
        books.lock().unwrap().address = format!("https://{}", front.secure_address());
        Mint { books, front, _backend: backend }
    }

    /// From now on it wants no order for so many seconds.
    pub fn close(&self, seconds: u32) {
        self.books.lock().unwrap().closed = Some(seconds);
    }

    pub fn root_file(&self) -> PathBuf {
        self.front.folder.path().join("root.pem")
    }

    pub fn directory(&self) -> String {
        format!("{}/dir", self.books.lock().unwrap().address)
    }

    /// What was ordered so far.
    pub fn orders(&self) -> Vec<Value> {
        self.books.lock().unwrap().orders.clone()
    }

    /// Which certificates somebody has asked about, when to renew them.
    pub fn asked(&self) -> Vec<String> {
        self.books.lock().unwrap().asked.clone()
    }
}

fn answer(books: &mut Books, own: &Authority, seen: &Seen, out: &mut TcpStream) -> io::Result<()> {
    let base = books.address.clone();
    let path: Vec<&str> = seen.target.split('/').skip(1).collect();
    let number = || path.get(1).and_then(|number| number.parse::<usize>().ok()).unwrap_or_default();
    let order = |number: usize, done: bool| {
        let mut order = json!({
            "status": if done { "valid" } else { "ready" },
            "authorizations": [],
            "finalize": format!("{base}/finalize/{number}"),
        });
        if done {
            order["certificate"] = json!(format!("{base}/certificate/{number}"));
        }
        order
    };
    let (mut status, mut more) = (200, String::new());
    let body = match path.first().copied().unwrap_or_default() {
        "dir" => json!({
            "newNonce": format!("{base}/nonce"),
            "newAccount": format!("{base}/account"),
            "newOrder": format!("{base}/orders"),
            "renewalInfo": format!("{base}/renewal"),
            "meta": { "profiles": { "short": "for a week" } },
        }),
        "nonce" => Value::Null,
        "account" => {
            (status, more) = (201, format!("Location: {base}/account/1\r\n"));
            json!({ "status": "valid" })
        }
        "orders" => {
            books.orders.push(payload(seen));
            if let Some(seconds) = books.closed {
                (status, more) = (429, format!("Retry-After: {seconds}\r\n"));
                json!({ "type": "urn:ietf:params:acme:error:rateLimited", "detail": "enough", "status": 429 })
            } else {
                let number = books.orders.len() - 1;
                (status, more) = (201, format!("Location: {base}/order/{number}\r\n"));
                let mut order = order(number, false);
                let ordered = &books.orders[number];
                order["replaces"] = ordered["replaces"].clone();
                order["profile"] = ordered["profile"].clone();
                order
            }
        }
        "finalize" => {
            let request = payload(seen)["csr"].as_str().unwrap_or_default().to_owned();
            let request = URL_SAFE_NO_PAD.decode(request).unwrap_or_default();
            books.certificates.push(own.sign_request(&request));
            order(number(), true)
        }
        "order" => order(number(), true),
        "certificate" => {
            let chain = books.certificates.last().cloned().unwrap_or_default();
            return write(out, 200, "", chain.as_bytes(), seen);
        }
        "renewal" => {
            let which = path.get(1).copied().unwrap_or_default().to_owned();
            if !books.asked.contains(&which) {
                books.asked.push(which.clone());
            }
            more.push_str("Retry-After: 3600\r\n");
            // The first one is to be replaced at once, and no other for as long as anybody remembers.
            let year = if books.asked.first() == Some(&which) { 2020 } else { 2100 };
            json!({ "suggestedWindow": {
                "start": format!("{year}-01-01T00:00:00Z"),
                "end": format!("{year}-01-02T00:00:00Z"),
            }})
        }
        _ => {
            status = 404;
            json!({ "type": "urn:ietf:params:acme:error:malformed", "status": 404 })
        }
    };
    write(out, status, &more, body.to_string().as_bytes(), seen)
}

/// What a request says, whoever has signed it.
fn payload(seen: &Seen) -> Value {
    let signed: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
    let payload = URL_SAFE_NO_PAD.decode(signed["payload"].as_str().unwrap_or_default());
    serde_json::from_slice(&payload.unwrap_or_default()).unwrap_or_default()
}

fn write(out: &mut TcpStream, status: u16, more: &str, body: &[u8], seen: &Seen) -> io::Result<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} So\r\nReplay-Nonce: again\r\n{more}Content-Length: {length}\r\n\r\n"
    );
    out.write_all(head.as_bytes())?;
    if seen.method == "HEAD" { Ok(()) } else { out.write_all(body) }
}
