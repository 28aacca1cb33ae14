//! TLS configurations and verification.
