//! The data path of one pod: captured connections out, tunnels and plain connections in.
//!
//! Layer 6. Decisions are pure functions of a snapshot; everything around them opens sockets, moves bytes and reports.

pub mod connections;
mod error;

pub use error::Error;
