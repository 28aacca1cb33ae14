//! applink: the open application network for any Kubernetes cluster.
//!
//! Layers, top imports down, never up:
//!
//! ```text
//! cli, operator          the shell: has a client, does I/O
//! metrics, telemetry     what the shell counts and writes
//! probe                  the program in the pods of the operator's own probe
//! ------------------------------------------------------------
//! plan, leave, status, decide    decisions: facts and now -> what next
//! rights                 what the operator may do
//! desired, preflight     objects to be; checks before the first act
//! blueprint, health      inputs of the above
//! trust, platform, catalogue, facts, window
//! api
//! names
//! ```
//!
//! Below the line no file mentions a client, async, the clock or randomness (`trust` makes keys, and says so).

pub mod api;
pub mod blueprint;
pub mod catalogue;
pub mod cli;
pub mod decide;
pub mod desired;
pub mod facts;
pub mod health;
pub mod leave;
pub mod metrics;
pub mod names;
pub mod operator;
pub mod plan;
pub mod platform;
pub mod preflight;
pub mod probe;
pub mod rights;
pub mod status;
pub mod telemetry;
pub mod trust;
pub mod window;
