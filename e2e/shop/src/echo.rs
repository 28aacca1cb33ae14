//! Answers every whole frame with itself, on as many connections as there are.

use std::io::Result;
use std::net::{TcpListener, TcpStream};

use crate::frame::Frame;

/// A connection needs little more than one frame.
const STACK: usize = 64 * 1024;

/// Serves until killed.
///
/// # Errors
/// The port cannot be listened on.
pub fn run(port: u16) -> Result<()> {
    let listener =
        TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port)))?;
    println!("frames are answered on {}", listener.local_addr()?);
    loop {
        let accepted = listener.accept();
        // A caller that hangs up is its own affair.
        let _ = accepted.and_then(|(stream, _)| {
            std::thread::Builder::new()
                .stack_size(STACK)
                .spawn(move || answer(stream))
        });
    }
}

/// A damaged frame ends the connection: whoever sent it sees that.
fn answer(mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    while let Ok(Some(frame)) = Frame::read(&mut stream) {
        if !frame.is_whole() || frame.write(&mut stream).is_err() {
            return;
        }
    }
}
