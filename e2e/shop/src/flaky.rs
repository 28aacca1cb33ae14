//! A program that loads this before its libraries fails one in ten of the connections that it makes to one port; all others
//! are made as they are asked for. Only the image of a broken release has it: see `broken`.

use std::ffi::{c_char, c_int, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The variable with the port.
const PORT: &str = "SHOP_FLAKY_PORT";
/// One in so many fails.
const EVERY: u32 = 10;
const FAMILIES: [u16; 2] = [2, 10];
const ECONNREFUSED: c_int = 111;
/// The next library that has a symbol.
const NEXT: *mut c_void = std::ptr::without_provenance_mut(usize::MAX);

type Connect = unsafe extern "C" fn(c_int, *const u8, u32) -> c_int;

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
    fn __errno_location() -> *mut c_int;
}

/// The libraries' own function.
fn real() -> Option<Connect> {
    static REAL: OnceLock<Option<Connect>> = OnceLock::new();
    *REAL.get_or_init(|| {
        // SAFETY: the name ends with a zero, and what is found under it is a function of this type.
        unsafe {
            let found = dlsym(NEXT, c"connect".as_ptr());
            (!found.is_null()).then(|| std::mem::transmute::<*mut c_void, Connect>(found))
        }
    })
}

/// The port of an internet address, as the first four bytes of every form say it.
fn port(head: [u8; 4]) -> Option<u16> {
    let [family @ .., high, low] = head;
    FAMILIES
        .contains(&u16::from_ne_bytes(family))
        .then_some(u16::from_be_bytes([high, low]))
}

/// Whether the next connection to a port is one that fails.
fn fails(to: u16, flaky: Option<u16>, count: &AtomicU32) -> bool {
    Some(to) == flaky && count.fetch_add(1, Ordering::Relaxed) % EVERY == EVERY - 1
}

/// `connect(2)`.
///
/// # Safety
/// As for the function of that name in the C library: `address` points at `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn connect(socket: c_int, address: *const u8, length: u32) -> c_int {
    static FLAKY: OnceLock<Option<u16>> = OnceLock::new();
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let flaky = *FLAKY.get_or_init(|| std::env::var(PORT).ok()?.parse().ok());
    // SAFETY: the caller says that `length` bytes are there.
    let head = (!address.is_null() && length >= 4).then(|| unsafe { *address.cast::<[u8; 4]>() });
    let is_due = head
        .and_then(port)
        .is_some_and(|to| fails(to, flaky, &COUNT));
    match real() {
        // SAFETY: the arguments are the caller's.
        Some(real) if !is_due => unsafe { real(socket, address, length) },
        _ => {
            // SAFETY: it is this thread's own.
            unsafe { *__errno_location() = ECONNREFUSED };
            -1
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn one_in_ten_connections_to_the_port_fails_and_none_to_others() {
        let count = AtomicU32::new(0);
        let failed = |to| (0..30).filter(|_| fails(to, Some(9000), &count)).count();
        assert_eq!((failed(9000), failed(8080)), (3, 0));
        assert!(!fails(9000, None, &count));
    }

    #[test]
    fn only_internet_addresses_have_a_port() {
        let [low, high] = 10_u16.to_ne_bytes();
        assert_eq!(port([low, high, 0x23, 0x28]), Some(9000));
        let [low, high] = 1_u16.to_ne_bytes();
        assert_eq!(port([low, high, 0x23, 0x28]), None);
    }

    /// The program of this test has the function of this file in the place of the C library's.
    #[test]
    fn what_does_not_fail_is_connected_as_ever() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_, peer) = listener.accept().unwrap();
        assert_eq!(stream.local_addr().unwrap(), peer);
    }
}
