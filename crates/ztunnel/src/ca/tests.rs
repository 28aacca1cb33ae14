//! The keeper against an issuer under control.
