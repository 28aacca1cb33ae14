//! Sockets: marks, transparency, original destination.
