//! The chunked coding, strictly: CR LF and nothing else ends a line, and every limit holds over
//! the whole body. Extensions are checked and dropped, trailer fields checked and kept.

use super::body::Step;
use super::malformed::Malformed;
use super::syntax;
use crate::limits;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// Before or in the digits of a size.
    #[default]
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// Before a trailer line, or the empty line that ends it all.
    Trailer,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Done,
}

/// Where in a chunked body we are.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    at: At,
    digits: u8,
    /// Of the chunk's size: read so far, then left of its data.
    left: u64,
    extensions: usize,
    /// The trailer fields, each with its CR LF.
    trailers: Vec<u8>,
    trailer_fields: usize,
}

impl Chunks {
    pub(crate) fn is_done(&self) -> bool {
        self.at == At::Done
    }

    /// What is left of the present chunk's data; 0 outside of it.
    pub(crate) fn payload_left(&self) -> u64 {
        if self.at == At::Data { self.left } else { 0 }
    }

    /// The trailer fields as they came; all of them once the body is done.
    pub(crate) fn trailers(&self) -> &[u8] {
        &self.trailers
    }

    /// Reads on through `data`; the payload found is moved together behind its first piece.
    pub(crate) fn step(&mut self, data: &mut [u8]) -> Result<Step, Malformed> {
        let mut step = Step { start: 0, end: 0, consumed: 0 };
        while self.at != At::Done {
            if self.at == At::Data {
                let here = data.len().saturating_sub(step.consumed);
                let here = usize::try_from(self.left).map_or(here, |left| left.min(here));
                if step.start == step.end {
                    step.start = step.consumed;
                    step.end = step.consumed;
                }
                if step.end != step.consumed {
                    data.copy_within(step.consumed..step.consumed + here, step.end);
                }
                step.end += here;
                step.consumed += here;
                self.left -= here as u64;
                if self.left > 0 {
                    break;
                }
                self.at = At::DataCr;
            } else {
                let Some(&byte) = data.get(step.consumed) else { break };
                step.consumed += 1;
                self.at = self.framing(byte)?;
            }
        }
        Ok(step)
    }

    /// One byte that is not data.
    fn framing(&mut self, byte: u8) -> Result<At, Malformed> {
        Ok(match (self.at, byte) {
            (At::Size, b'\r') if self.digits > 0 => At::SizeLf,
            (At::Size, b';') if self.digits > 0 => At::Extension,
            (At::Size, _) => {
                let digit = char::from(byte).to_digit(16).ok_or(Malformed::ChunkSize)?;
                if self.digits == 15 {
                    return Err(Malformed::ChunkSize);
                }
                self.digits += 1;
                self.left = self.left * 16 + u64::from(digit);
                At::Size
            }
            (At::Extension, b'\r') => At::SizeLf,
            (At::Extension, _) => {
                self.extensions += 1;
                if !syntax::is_value_byte(byte) || self.extensions > limits::CHUNK_EXTENSIONS {
                    return Err(Malformed::ChunkExtension);
                }
                At::Extension
            }
            (At::SizeLf, b'\n') => {
                self.digits = 0;
                if self.left == 0 { At::Trailer } else { At::Data }
            }
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::Size,
            (At::Trailer, b'\r') => At::EndLf,
            (At::TrailerName, b':') => self.trailer(byte, At::TrailerValue)?,
            (At::Trailer | At::TrailerName, _) if syntax::is_token_byte(byte) => {
                self.trailer(byte, At::TrailerName)?
            }
            (At::TrailerValue, b'\r') => At::TrailerLf,
            (At::TrailerValue, _) if syntax::is_value_byte(byte) => {
                self.trailer(byte, At::TrailerValue)?
            }
            (At::TrailerLf, b'\n') => {
                self.trailers.extend_from_slice(b"\r\n");
                self.trailer_fields += 1;
                if self.trailer_fields > limits::FIELDS {
                    return Err(Malformed::Trailer);
                }
                At::Trailer
            }
            (At::EndLf, b'\n') => At::Done,
            (At::SizeLf, _) => return Err(Malformed::ChunkSize),
            (At::DataCr | At::DataLf, _) => return Err(Malformed::ChunkEnd),
            (At::Trailer | At::TrailerName | At::TrailerValue | At::TrailerLf | At::EndLf, _) => {
                return Err(Malformed::Trailer);
            }
            // Neither comes here: data is not framing, and after the end nothing is read.
            (At::Data | At::Done, _) => self.at,
        })
    }

    fn trailer(&mut self, byte: u8, next: At) -> Result<At, Malformed> {
        if self.trailers.len() >= limits::TRAILERS {
            return Err(Malformed::Trailer);
        }
        self.trailers.push(byte);
        Ok(next)
    }
}
