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
mod input_cluster;
mod input_definitions;
mod input_fault;
mod input_nodes;
mod input_rights;
mod input_rows;
mod input_versions;
mod install;
mod leave;
mod steady;
mod traffic;
mod versions;
mod zz_rights;
