//! From one revision to another: by a release, by a template, under traffic, with deaths, on nodes that come and go.

mod conditions;
mod deaths_rollout;
mod deleted;
mod gateways;
pub mod held;
mod hops;
mod orphans;
pub mod overlap;
pub mod releases;
mod rollout_nodes;
mod unused;
pub mod watched;
