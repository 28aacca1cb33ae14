//! Large buffers, lent for as long as bytes are in them.
//!
//! Layer 1. A connection that is idle holds none, and one that is busy reads as much at once as there is. What comes back is
//! lent again while it is still in the processor's cache.

use std::cell::Cell;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

/// Bytes of a buffer: what one system call moves at most. Larger ones leave the cache, smaller ones cost calls.
pub const SIZE: usize = 256 * 1024;
/// Buffers kept for the next one who asks, beside one for each thread.
const KEPT: usize = 16;
/// Up to so many bytes are copied, and the buffer is free at once: else bytes that wait could hold much more memory than
/// their number says.
const COPIED: usize = SIZE / 4;

static FREE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

thread_local! {
    /// The one that came back last, for whoever asks next on this thread.
    static LAST: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A buffer; goes back when it is dropped.
#[derive(Debug)]
pub struct Lent(Vec<u8>);

/// A buffer of [`SIZE`] bytes. What is in it is of no meaning.
pub fn lend() -> Lent {
    let last = LAST.try_with(Cell::take).unwrap_or_default();
    if !last.is_empty() {
        return Lent(last);
    }
    let kept = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
    Lent(kept.unwrap_or_else(|| vec![0; SIZE]))
}

impl Lent {
    /// All of it, to be filled.
    pub fn space(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// The first `count` bytes.
    pub fn filled(&self, count: usize) -> &[u8] {
        self.0.get(..count).unwrap_or(&self.0)
    }

    /// The first `count` bytes, to be kept for as long as they are needed.
    pub fn into_bytes(self, count: usize) -> Bytes {
        if count <= COPIED {
            Bytes::copy_from_slice(self.filled(count))
        } else {
            Bytes::from_owner(Filled { lent: self, count })
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let own = std::mem::take(&mut self.0);
        let before = LAST.try_with(|last| last.replace(own)).unwrap_or_default();
        if before.is_empty() {
            return;
        }
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < KEPT {
            free.push(before);
        }
    }
}

struct Filled {
    lent: Lent,
    count: usize,
}

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        self.lent.filled(self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stay_what_they_were_while_their_buffer_is_lent_again() {
        for count in [0, 1, COPIED, COPIED + 1, SIZE] {
            let mut lent = lend();
            lent.space()[..count].fill(7);
            let bytes = lent.into_bytes(count);
            let mut others: Vec<Lent> = (0..2 * KEPT).map(|_| lend()).collect();
            for other in &mut others {
                other.space().fill(9);
            }
            drop(others);
            assert_eq!(bytes.len(), count);
            assert!(bytes.iter().all(|byte| *byte == 7));
        }
    }

    #[test]
    fn no_more_than_a_few_are_kept() {
        drop((0..4 * KEPT).map(|_| lend()).collect::<Vec<_>>());
        assert!(FREE.lock().unwrap().len() <= KEPT);
    }
}
