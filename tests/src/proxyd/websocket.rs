//! `WebSocket`, by hand: frames as bytes, a client, and a backend that echoes.

use std::io::{self, Write};

use super::{Backend, Client, Connection};

/// What closes with 1001, from a server.
pub const GOING_AWAY: &[u8] = &[0x88, 2, 3, 0xe9];

/// A request that asks for one.
pub const UPGRADE: &str = "HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// The answer to it.
pub const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A whole frame; clients mask theirs.
pub fn frame(opcode: u8, payload: &[u8], masked: bool) -> Vec<u8> {
    let bit = if masked { 0x80 } else { 0 };
    let mut frame = vec![0x80 | opcode];
    match u16::try_from(payload.len()) {
        Ok(short @ 0..=125) => frame.push(bit | u8::try_from(short).unwrap()),
        Ok(length) => {
            frame.push(bit | 0x7e);
            frame.extend(length.to_be_bytes());
        }
        Err(_) => {
            frame.push(bit | 0x7f);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    if masked {
        frame.extend([7, 7, 7, 7]);
        frame.extend(payload.iter().map(|byte| byte ^ 7));
    } else {
        frame.extend(payload);
    }
    frame
}

/// Reads one frame: its opcode, and its payload without the mask. `read` reads exactly so many bytes.
pub fn read_frame(mut read: impl FnMut(usize) -> Option<Vec<u8>>) -> Option<(u8, Vec<u8>)> {
    let head = read(2)?;
    let length = match head[1] & 0x7f {
        126 => u64::from(u16::from_be_bytes(read(2)?.try_into().unwrap())),
        127 => u64::from_be_bytes(read(8)?.try_into().unwrap()),
        length => u64::from(length),
    };
    let mask = if head[1] & 0x80 != 0 { read(4)? } else { vec![0; 4] };
    let payload = read(usize::try_from(length).unwrap())?;
    let payload = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    Some((head[0] & 0x0f, payload.collect()))
}

/// Opens one through the proxy.
pub fn open(client: &mut Client) {
    client.send(format!("GET /ws {UPGRADE}"));
    let answer = client.answer();
    assert_eq!(answer.status, 101, "{answer:?}");
}

/// Sends a text, and reads its echo.
pub fn echo(client: &mut Client, text: &str) {
    client.send(frame(1, text.as_bytes(), true));
    let frame = read_frame(|count| Some(client.read_exact(count)));
    assert_eq!(frame, Some((1, text.as_bytes().to_vec())));
}

/// A backend that speaks it: echoes texts, answers pings, agrees to a close, and tells `closed` of the code
/// of each.
pub fn echoes(closed: impl Fn(Vec<u8>) + Send + Sync + 'static) -> Backend {
    Backend::raw(move |mut connection| {
        let _ = serve(&mut connection, &closed);
    })
}

fn serve(connection: &mut Connection, closed: &impl Fn(Vec<u8>)) -> io::Result<()> {
    let Some(_) = connection.head() else { return Ok(()) };
    connection.stream.write_all(SWITCHED.as_bytes())?;
    while let Some((opcode, payload)) = read_frame(|count| connection.read_exact(count)) {
        let answer = match opcode {
            8 => 8,
            9 => 10,
            other => other,
        };
        connection.stream.write_all(&frame(answer, &payload, false))?;
        if opcode == 8 {
            closed(payload);
            return Ok(());
        }
    }
    closed(b"cut".to_vec());
    Ok(())
}
