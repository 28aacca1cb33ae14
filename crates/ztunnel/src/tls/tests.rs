//! Handshakes between certificates of a test authority.
