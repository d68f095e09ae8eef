//! Who speaks HTTP without TLS where TLS is spoken: he is told so, in the words that he understands, and nothing of
//! what he says is heard.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ANSWER: &str = concat!(
    "{\"error\":\"no_tls\",\"message\":\"this port speaks TLS 1.3: ask with https://, or with `bootctl --host`. ",
    "What was sent came here unprotected; if a token was in it, revoke that one with `bootctl generate --revoke`\"}\n"
);
/// What is read of him, so that he comes to read the answer.
const MOST: usize = 64 << 10;

/// Whether it begins as HTTP does. TLS begins with a byte that is no letter.
pub(super) async fn is_plain(stream: &TcpStream) -> bool {
    let mut first = [0];
    matches!(stream.peek(&mut first).await, Ok(1)) && first[0].is_ascii_alphabetic()
}

/// Tells him.
pub(super) async fn answer(mut stream: TcpStream) {
    let length = ANSWER.len();
    let text = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{ANSWER}"
    );
    if stream.write_all(text.as_bytes()).await.is_err() || stream.shutdown().await.is_err() {
        return;
    }
    // With bytes of his unread, the connection would be reset, and the answer lost.
    let (mut some, mut left) = ([0; 1024], MOST);
    while let Ok(count @ 1..) = stream.read(&mut some).await {
        left = left.saturating_sub(count);
        if left == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn z09_the_answer_is_json() {
        let answer: serde_json::Value = serde_json::from_str(ANSWER).expect("JSON");
        assert_eq!(answer["error"], "no_tls");
    }
}
