//! Bodies in chunks (RFC 9112 §7.1), taken apart as they arrive. What is passed on is put into chunks of our own.
use std::ops::Range;

use crate::{Field, Limits, Refusal, Scan, field, scan::Peer};

/// Bytes of extensions in a whole body: nobody uses them, and endless ones keep a connection busy with nothing.
const EXTENSIONS: u32 = 4096;

/// Takes a body apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chunked {
    state: State,
    /// Extension bytes so far.
    extensions: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum State {
    /// Before or among a size's digits.
    Size {
        digits: u8,
        size: u64,
    },
    /// Behind the size, up to the line's end.
    Extension {
        size: u64,
    },
    /// The size's line ends with the next byte.
    SizeEnd {
        size: u64,
    },
    /// So many bytes of the chunk are still to come.
    Data {
        left: u64,
    },
    /// CR and LF follow a chunk.
    DataCr,
    DataLf,
    /// Behind the last chunk.
    Trailers(Scan),
    #[default]
    Begin,
    End,
}

/// What the next bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// More bytes are needed; so many are no longer.
    More(usize),
    /// These bytes are of the body; whatever is before their end is no longer needed.
    Data(Range<usize>),
    /// The body ends here, and so many bytes are no longer needed: the section ends with these trailers, whose ranges are
    /// of the bytes from the given one on.
    End(usize, Trailers),
}

/// Fields behind a body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trailers {
    /// Where their section begins.
    pub begin: usize,
    /// The fields.
    pub fields: Vec<Field>,
}

impl Chunked {
    /// Looks at `bytes`, the ones that are next in the body, until there is something to say. Bytes that are no longer
    /// needed must not be shown again.
    ///
    /// # Errors
    /// They are no chunks.
    pub fn step(&mut self, bytes: &[u8], limits: &Limits) -> Result<Step, Refusal> {
        let mut at = 0;
        loop {
            if let State::Data { left } = &mut self.state {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len() - at);
                if take == 0 {
                    return Ok(Step::More(at));
                }
                *left -= take as u64;
                if *left == 0 {
                    self.state = State::DataCr;
                }
                return Ok(Step::Data(at..at + take));
            }
            if let State::Trailers(scan) = &mut self.state {
                return Self::trailers(scan, bytes, at, limits).inspect(|step| {
                    if matches!(step, Step::End(..)) {
                        self.state = State::End;
                    }
                });
            }
            let Some(byte) = bytes.get(at) else { return Ok(Step::More(at)) };
            at += 1;
            self.state = self.after(*byte)?;
        }
    }

    /// The whole body has been seen.
    pub fn is_over(&self) -> bool {
        self.state == State::End
    }

    fn after(&mut self, byte: u8) -> Result<State, Refusal> {
        Ok(match (&self.state, byte) {
            (State::Begin, _) => digit(0, 0, byte)?,
            (State::Size { size, .. }, b'\r') => State::SizeEnd { size: *size },
            // RFC 9112 §7.1.1: white space before an extension is bad, and has to be understood.
            (State::Size { size, .. }, b';' | b' ' | b'\t') => State::Extension { size: *size },
            (State::Size { digits, size }, _) => digit(*digits, *size, byte)?,
            (State::Extension { size }, b'\r') => State::SizeEnd { size: *size },
            (State::Extension { size }, b'\t' | 0x20..=0x7e | 0x80..) => {
                self.extensions += 1;
                if self.extensions > EXTENSIONS {
                    return Err(Refusal::ChunkExtension);
                }
                State::Extension { size: *size }
            }
            (State::Extension { .. }, _) => return Err(Refusal::ChunkExtension),
            (State::SizeEnd { size: 0 }, b'\n') => State::Trailers(Scan::default()),
            (State::SizeEnd { size }, b'\n') => State::Data { left: *size },
            (State::SizeEnd { .. }, _) => return Err(Refusal::ChunkSize),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Begin,
            (State::DataCr | State::DataLf, _) => return Err(Refusal::ChunkEnd),
            (State::Data { .. } | State::Trailers(_) | State::End, _) => return Err(Refusal::ChunkEnd),
        })
    }

    /// The section behind the last chunk: an empty line, or fields and an empty line.
    fn trailers(scan: &mut Scan, bytes: &[u8], at: usize, limits: &Limits) -> Result<Step, Refusal> {
        let section = bytes.get(at..).unwrap_or_default();
        if section.starts_with(b"\r\n") {
            return Ok(Step::End(at + 2, Trailers { begin: at, fields: Vec::new() }));
        }
        if section.len() < 2 {
            return Ok(Step::More(at));
        }
        // Chunks have no lenient form: whoever makes them knows how lines end.
        let Some((_, length)) = scan.find(section, Peer::Client, limits)? else { return Ok(Step::More(at)) };
        let section = section.get(..length).unwrap_or_default();
        Ok(Step::End(at + length, Trailers { begin: at, fields: field::trailers(section, limits)? }))
    }
}

/// One more digit of a size. Leading zeros are digits like others, so they are bounded too.
fn digit(digits: u8, size: u64, byte: u8) -> Result<State, Refusal> {
    let value = (byte as char).to_digit(16).ok_or(Refusal::ChunkSize)?;
    if digits >= 15 {
        return Err(Refusal::ChunkSize);
    }
    Ok(State::Size { digits: digits + 1, size: size << 4 | u64::from(value) })
}

/// The line before a chunk of so many bytes; `\r\n` has to follow the chunk.
pub fn chunk_head(length: usize, room: &mut [u8; 18]) -> &[u8] {
    let mut at = 16;
    let mut left = length;
    loop {
        at -= 1;
        room[at] = b"0123456789abcdef"[left & 15];
        left >>= 4;
        if left == 0 {
            break;
        }
    }
    room[16..].copy_from_slice(b"\r\n");
    &room[at..]
}
