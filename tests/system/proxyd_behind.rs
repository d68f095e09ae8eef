//! proxyd: what targets that speak HTTP/2 may do, and no request is the worse for it.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;
use h2::server::SendResponse;
use http::{Request, Response};
use jobinit_tests::calls;
use jobinit_tests::fates::Kind;
use jobinit_tests::proxyd::{Authority, Proxyd};
use jobinit_tests::streams::Streams;
use nix::sys::signal::Signal;

fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("tcp:{}", listener.local_addr().unwrap());
    (listener, target)
}

fn put_app(proxyd: &Proxyd, target: &str) {
    proxyd.put_route("app.test", "app");
    assert_eq!(proxyd.put("/services/app", r#"{"protocol":"h2c"}"#).status, 201);
    proxyd.put_target("app", "1", target);
}

#[test]
fn p09_frames_that_hold_nothing_end_no_connection() {
    let (proxyd, authority) = (Proxyd::start_secure(&[]), Authority::default());
    let (listener, target) = listen();
    // It says back the empty frame by which each call ends, as libraries do before trailers.
    thread::spawn(|| calls::serve(listener));
    put_app(&proxyd, &target);
    proxyd.put_certificate("app", &authority.pair(&["app.test"]));
    let load = Streams::start(proxyd.secure_address(), "app.test", Kind::Call, &authority.trust());
    load.fates.go_on(500);
    let fates = load.stop();
    let failures = fates.failures.lock().unwrap();
    assert!(failures.is_empty(), "{failures:#?}");
}

/// Short pieces, as many as are taken.
async fn flood(mut respond: SendResponse<Bytes>, written: Arc<AtomicUsize>) -> Option<()> {
    let mut body = respond.send_response(Response::new(()), false).ok()?;
    loop {
        body.reserve_capacity(PIECE.len());
        while body.capacity() < PIECE.len() {
            std::future::poll_fn(|cx| body.poll_capacity(cx)).await?.ok()?;
        }
        body.send_data(Bytes::from_static(PIECE), false).ok()?;
        written.fetch_add(1, Ordering::SeqCst);
    }
}

const PIECE: &[u8] = b"ten bytes\n";

/// An app that sends those.
fn flooding(listener: TcpListener, written: &Arc<AtomicUsize>) {
    run(async {
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        while let Ok((stream, _)) = listener.accept().await {
            let written = Arc::clone(written);
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.ok()?;
                while let Some(Ok((_, respond))) = connection.accept().await {
                    tokio::spawn(flood(respond, Arc::clone(&written)));
                }
                Some(())
            });
        }
    });
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

#[test]
fn p10_short_frames_that_nobody_reads_yet_end_no_connection() {
    let (listener, target) = listen();
    let written = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&written);
    thread::spawn(move || flooding(listener, &counted));
    let proxyd = Proxyd::start();
    proxyd.put_front(r#"{"http2":{"cleartext":true}}"#);
    put_app(&proxyd, &target);
    run(read_late(proxyd.address, &written));
}

/// Clients that read only when the app can write no more, and then far.
async fn read_late(to: SocketAddr, written: &AtomicUsize) {
    let mut bodies = Vec::new();
    for _ in 0..CLIENTS {
        let stream = tokio::net::TcpStream::connect(to).await.unwrap();
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let mut send = send.ready().await.unwrap();
        let ask = Request::get("http://app.test/").body(()).unwrap();
        bodies.push((send.send_request(ask, true).unwrap().0.await.unwrap().into_body(), send));
    }
    // Far more than the clients' windows: they are held by the proxy.
    let held = async {
        while written.load(Ordering::SeqCst) < CLIENTS * 13_000 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let held = tokio::time::timeout(Duration::from_secs(20), held).await;
    assert!(held.is_ok(), "only {} of them are taken", written.load(Ordering::SeqCst));
    for (body, _) in &mut bodies {
        let mut heard = 0;
        while heard < 200_000 {
            let piece = body.data().await.unwrap().unwrap();
            body.flow_control().release_capacity(piece.len()).unwrap();
            heard += piece.len();
        }
    }
}

const CLIENTS: usize = 12;

/// An app that says back the first message of each call. With the second it is gone, and whoever is connected.
fn frail(listener: TcpListener) {
    run(async {
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let (request, mut respond) = connection.accept().await.unwrap().unwrap();
        tokio::spawn(async move { while let Some(Ok(_)) = connection.accept().await {} });
        let head = Response::builder().header("content-type", "application/grpc+proto");
        let mut answer = respond.send_response(head.body(()).unwrap(), false).unwrap();
        let mut said = request.into_body();
        answer.send_data(said.data().await.unwrap().unwrap(), false).unwrap();
        said.data().await.unwrap().unwrap();
    });
}

/// A call that was answered once and waits, and what it is told at last: its status, and that nothing was cut.
async fn told(to: SocketAddr, end: impl FnOnce(&mut SendStream<Bytes>)) -> Option<String> {
    let stream = tokio::net::TcpStream::connect(to).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut send = send.ready().await.unwrap();
    let ask = Request::post("http://app.test/test.Echo/Talk").header("te", "trailers");
    let (answer, mut out) = send.send_request(ask.body(()).unwrap(), false).unwrap();
    out.send_data(Bytes::from_static(PIECE), false).unwrap();
    let mut body = answer.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), PIECE);
    end(&mut out);
    while let Some(piece) = body.data().await {
        piece.unwrap();
    }
    let fields = body.trailers().await.unwrap()?;
    Some(fields.get("grpc-status")?.to_str().unwrap().to_owned())
}

/// UNAVAILABLE: the one status that clients take for "again".
#[test]
fn p03_a_call_that_has_to_end_is_told_so_in_its_own_words() {
    let args = ["--grace", "0", "--stream-grace", "1"];
    let started = |serve: fn(TcpListener)| {
        let proxyd = Proxyd::start_with(&args);
        proxyd.put_front(r#"{"http2":{"cleartext":true}}"#);
        let (listener, target) = listen();
        thread::spawn(move || serve(listener));
        put_app(&proxyd, &target);
        proxyd
    };
    let unavailable = Some("14".to_owned());
    let mut proxyd = started(calls::serve);
    let retire = |_: &mut SendStream<Bytes>| {
        let path = "/services/app/targets/1?grace_ms=0&stream_grace_ms=100";
        assert_eq!(proxyd.control("DELETE", path, "", "").status, 200);
    };
    assert_eq!(run(told(proxyd.address, retire)), unavailable, "its app is replaced");
    let (listener, target) = listen();
    thread::spawn(|| calls::serve(listener));
    proxyd.put_target("app", "2", &target);
    let stop = |_: &mut SendStream<Bytes>| proxyd.signal(Signal::SIGTERM);
    assert_eq!(run(told(proxyd.address, stop)), unavailable, "the proxy is replaced");
    assert!(proxyd.wait().success());
    let proxyd = started(frail);
    let lose = |out: &mut SendStream<Bytes>| out.send_data(PIECE.into(), false).unwrap();
    assert_eq!(run(told(proxyd.address, lose)), unavailable, "its app is gone");
}
