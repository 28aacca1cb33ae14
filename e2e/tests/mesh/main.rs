//! The mesh on a real cluster: installed from one member, used, repaired, left.
//!
//! Needs root, and the release builds of `applink` and `shop`. All tests share one cluster, so
//! they run one at a time; each brings about what it starts from, so their order does not matter,
//! but for the last module, which judges what the others made the operator do.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod fixture;
mod input;
mod install;
mod leave;
mod steady;
mod traffic;
mod zz_rights;
