//! Tunnels: many byte streams between two pods over one mutually authenticated connection.
//!
//! Layer 5, and a seam: what is inside (today rustls and HTTP/2 by the `h2` crate) shows nowhere outside this folder.

mod authority;
pub mod forwarded;

pub use authority::{Authority, AuthorityError};
