//! An app that takes calls as gRPC makes them: HTTP/2 without TLS, each frame of a call said back as it comes, also one that
//! holds nothing, and a status behind the last one.

use std::net::TcpListener;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Response};
use tokio::net::TcpStream;

/// Takes connections until it is ended.
pub fn serve(listener: TcpListener) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    runtime.expect("a runtime").block_on(async {
        listener.set_nonblocking(true).expect("it is ours");
        let listener = tokio::net::TcpListener::from_std(listener).expect("it is open");
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream.set_nodelay(true));
            tokio::spawn(connection(stream));
        }
    });
}

async fn connection(stream: TcpStream) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(async move { drop(call(request.into_body(), respond).await) });
    }
}

async fn call(mut said: RecvStream, mut respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
    let mut head = Response::new(());
    let fields = head.headers_mut();
    fields.insert("content-type", HeaderValue::from_static("application/grpc"));
    let mut answer = respond.send_response(head, false)?;
    while let Some(piece) = said.data().await {
        let piece = piece?;
        said.flow_control().release_capacity(piece.len())?;
        answer.send_data(piece, false)?;
    }
    let mut status = HeaderMap::new();
    status.insert("grpc-status", HeaderValue::from_static("0"));
    answer.send_trailers(status)
}
