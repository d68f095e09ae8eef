//! An answer's body on its way into a coding, piece by piece.
//!
//! What one holds is bounded, by its window and its tables, and so is how many of them a worker has: whoever finds none
//! left sends the body as it is.

use std::fmt;
use std::io::{self, Write};
use std::rc::Rc;

use flate2::write::GzEncoder;
use zstd::zstd_safe::CParameter;

use super::Coding;
use crate::limits;

/// A worker's encoders, as far as they are counted.
#[derive(Debug, Default)]
pub(crate) struct Encoders(Rc<()>);

impl Encoders {
    /// `None`: there are as many as may be, or there is no memory for one.
    pub(crate) fn take(&self, coding: Coding) -> Option<Encoder> {
        if Rc::strong_count(&self.0) > limits::ENCODERS {
            return None;
        }
        let kind = Kind::new(coding).ok()?;
        Some(Encoder { kind, holds_back: false, _one: Rc::clone(&self.0) })
    }
}

/// One body.
#[derive(Debug)]
pub(crate) struct Encoder {
    kind: Kind,
    /// Something was written to it that may not have come out.
    holds_back: bool,
    _one: Rc<()>,
}

enum Kind {
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Gzip(GzEncoder<Vec<u8>>),
}

impl Encoder {
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.holds_back = true;
        self.kind.writer().write_all(bytes)
    }

    /// Whether whoever reads lacks something of what was written.
    pub(crate) fn holds_back(&self) -> bool {
        self.holds_back
    }

    /// Has all that was written come out. It costs some of what compression gains.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.holds_back) {
            self.kind.writer().flush()?;
        }
        Ok(())
    }

    /// What has come out.
    pub(crate) fn out(&mut self) -> &mut Vec<u8> {
        match &mut self.kind {
            Kind::Zstd(encoder) => encoder.get_mut(),
            Kind::Brotli(encoder) => encoder.get_mut(),
            Kind::Gzip(encoder) => encoder.get_mut(),
        }
    }

    /// The last of it.
    pub(crate) fn finish(self) -> io::Result<Vec<u8>> {
        match self.kind {
            Kind::Zstd(encoder) => encoder.finish(),
            Kind::Brotli(encoder) => Ok(encoder.into_inner()),
            Kind::Gzip(encoder) => encoder.finish(),
        }
    }
}

impl Kind {
    fn new(coding: Coding) -> io::Result<Kind> {
        let out = Vec::new();
        Ok(match coding {
            Coding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(out, limits::ZSTD_LEVEL)?;
                for bound in [
                    CParameter::WindowLog(limits::WINDOW),
                    CParameter::HashLog(limits::ZSTD_TABLE),
                    CParameter::ChainLog(limits::ZSTD_TABLE),
                ] {
                    encoder.set_parameter(bound)?;
                }
                Kind::Zstd(encoder)
            }
            Coding::Brotli => {
                let (piece, level) = (limits::ENCODED, limits::BROTLI_LEVEL);
                let encoder = brotli::CompressorWriter::new(out, piece, level, limits::WINDOW);
                Kind::Brotli(Box::new(encoder))
            }
            Coding::Gzip => {
                let level = flate2::Compression::new(limits::GZIP_LEVEL);
                Kind::Gzip(GzEncoder::new(out, level))
            }
        })
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Kind::Zstd(encoder) => encoder,
            Kind::Brotli(encoder) => encoder,
            Kind::Gzip(encoder) => encoder,
        }
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Zstd(_) => "Zstd",
            Kind::Brotli(_) => "Brotli",
            Kind::Gzip(_) => "Gzip",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    const ALL: [Coding; 3] = [Coding::Zstd, Coding::Brotli, Coding::Gzip];

    /// As much as comes out of what has come.
    fn decoded(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        // What is not all there ends in an error, behind what is.
        let _ = match coding {
            Coding::Zstd => zstd::stream::read::Decoder::new(bytes).unwrap().read_to_end(&mut out),
            Coding::Brotli => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut out),
            Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut out),
        };
        out
    }

    #[test]
    fn all_of_it_comes_out_again() {
        let body: Vec<u8> =
            (0..300_000_u32).flat_map(|at| (at / 7).to_string().into_bytes()).collect();
        for coding in ALL {
            let encoders = Encoders::default();
            let mut encoder = encoders.take(coding).unwrap();
            let mut sent = Vec::new();
            for piece in body.chunks(70_001) {
                encoder.write(piece).unwrap();
                sent.append(encoder.out());
            }
            sent.extend(encoder.finish().unwrap());
            assert!(sent.len() < body.len() / 2, "{coding:?}: {}", sent.len());
            assert!(decoded(coding, &sent) == body, "{coding:?}");
        }
    }

    #[test]
    fn what_is_flushed_can_be_read_at_once() {
        for coding in ALL {
            let mut encoder = Encoders::default().take(coding).unwrap();
            let mut sent = Vec::new();
            for (count, word) in ["one ", "two ", "three"].iter().enumerate() {
                encoder.write(word.as_bytes()).unwrap();
                assert!(encoder.holds_back());
                encoder.flush().unwrap();
                assert!(!encoder.holds_back());
                sent.append(encoder.out());
                let so_far: String = ["one ", "two ", "three"][..=count].concat();
                assert_eq!(decoded(coding, &sent), so_far.as_bytes(), "{coding:?}");
                let before = encoder.out().len();
                encoder.flush().unwrap();
                assert_eq!(encoder.out().len(), before, "there is nothing to flush");
            }
        }
    }

    #[test]
    fn there_are_not_more_than_there_may_be() {
        let encoders = Encoders::default();
        let all: Vec<_> =
            (0..limits::ENCODERS).map_while(|_| encoders.take(Coding::Gzip)).collect();
        assert_eq!(all.len(), limits::ENCODERS);
        assert!(encoders.take(Coding::Gzip).is_none());
        drop(all);
        assert!(encoders.take(Coding::Gzip).is_some());
    }
}
