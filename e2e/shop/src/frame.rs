//! What the load sends: frames of a fixed size with a number and a checksum, answered with the same bytes.

use std::io::{Error, ErrorKind, Read, Result, Write};

/// Bytes of a frame.
pub const SIZE: usize = 256;
/// Where the checksum begins; it covers everything before.
const SUM: usize = SIZE - 8;

/// A frame of one connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame([u8; SIZE]);

impl Frame {
    /// Frame `number` of connection `connection`. What it is filled with differs from frame to frame.
    pub fn new(connection: u64, number: u64) -> Self {
        let mut bytes = [0; SIZE];
        let mut word = connection.rotate_left(32) ^ number ^ 0x9e37_79b9_7f4a_7c15;
        for chunk in bytes[16..SUM].chunks_mut(8) {
            // A shift register: cheap, and every bit of a frame depends on its number.
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
        }
        bytes[..8].copy_from_slice(&connection.to_le_bytes());
        bytes[8..16].copy_from_slice(&number.to_le_bytes());
        let sum = checksum(&bytes[..SUM]);
        bytes[SUM..].copy_from_slice(&sum.to_le_bytes());
        Self(bytes)
    }

    /// Reads one; `None` at the end of the stream.
    ///
    /// # Errors
    /// When the stream fails or ends within a frame.
    pub fn read(stream: &mut impl Read) -> Result<Option<Self>> {
        let mut bytes = [0; SIZE];
        let mut read = 0;
        while read < SIZE {
            match stream.read(&mut bytes[read..]) {
                Ok(0) if read == 0 => return Ok(None),
                Ok(0) => {
                    let text = format!("the stream ended after {read} bytes of a frame");
                    return Err(Error::new(ErrorKind::UnexpectedEof, text));
                }
                Ok(count) => read += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Some(Self(bytes)))
    }

    /// Writes it.
    ///
    /// # Errors
    /// When the stream fails.
    pub fn write(&self, stream: &mut impl Write) -> Result<()> {
        stream.write_all(&self.0)
    }

    /// Its bytes are those that were sent.
    pub fn is_whole(&self) -> bool {
        self.0[SUM..] == checksum(&self.0[..SUM]).to_le_bytes()
    }
}

/// FNV-1a.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_differ_and_any_changed_byte_shows() {
        let frame = Frame::new(3, 7);
        assert!(frame.is_whole());
        assert_ne!(frame, Frame::new(3, 8));
        assert_ne!(frame, Frame::new(4, 7));
        for at in 0..SIZE {
            let mut changed = frame.clone();
            changed.0[at] ^= 1;
            assert!(!changed.is_whole(), "byte {at}");
        }
    }

    #[test]
    fn a_stream_ends_between_frames_only() {
        let frame = Frame::new(1, 2);
        let mut bytes = Vec::new();
        frame.write(&mut bytes).unwrap();
        let mut stream = bytes.as_slice();
        assert_eq!(Frame::read(&mut stream).unwrap(), Some(frame));
        assert_eq!(Frame::read(&mut stream).unwrap(), None);
        let error = Frame::read(&mut &bytes[..9]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    }
}
