//! The delta xDS client.
