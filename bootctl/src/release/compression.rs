//! What an archive is compressed with, told by its first bytes and not by its name.

use std::io::{self, Cursor, Read};

use flate2::read::MultiGzDecoder;
use ruzstd::decoding::StreamingDecoder;

use super::ArchiveError;

/// Enough for the head of a tar file.
const HEAD: usize = 512;
/// Where a tar file says that it is one.
const MAGIC: std::ops::Range<usize> = 257..262;
/// The most memory that an archive may ask to be read with.
const LARGEST_WINDOW: usize = 128 << 20;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// What is known, and not read, with what to do.
const FOREIGN: [(&[u8], &str); 5] = [
    (b"PK", "a zip archive"),
    (b"BZh", "compressed with bzip2"),
    (&[0xfd, b'7', b'z', b'X', b'Z'], "compressed with xz"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
];

/// The bytes of the tar file.
pub(super) fn expand<'a>(mut source: impl Read + 'a) -> Result<Box<dyn Read + 'a>, ArchiveError> {
    let mut head = Vec::new();
    source.by_ref().take(HEAD as u64).read_to_end(&mut head).map_err(ArchiveError::Read)?;
    if let Some((_, what)) = FOREIGN.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Err(ArchiveError::Foreign(what));
    }
    let is_tar = head.get(MAGIC) == Some(b"ustar");
    let is_gzip = head.starts_with(GZIP);
    let is_zstd = head.starts_with(ZSTD);
    let whole = Cursor::new(head).chain(source);
    if is_gzip {
        return Ok(Box::new(MultiGzDecoder::new(whole)));
    }
    if is_zstd {
        let decoder = StreamingDecoder::new_with_max_window_size(whole, LARGEST_WINDOW as u64);
        let decoder = decoder.map_err(|error| ArchiveError::Read(io::Error::other(error)))?;
        return Ok(Box::new(decoder));
    }
    if is_tar { Ok(Box::new(whole)) } else { Err(ArchiveError::Unknown) }
}
