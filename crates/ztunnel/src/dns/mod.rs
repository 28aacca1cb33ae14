//! DNS capture: answers from the store for the names of services, passes everything else to the node's resolvers.
//!
//! Layer 6. [`answer`] decides (packet, snapshot and client in, verdict out; no I/O); [`forward`] asks the node's resolvers
//! with sockets made inside the pod; [`server`] listens inside the pod. What a pod can grow is bounded: queries in flight,
//! TCP connections, and the size of every message.

pub mod answer;
pub mod forward;
pub mod names;
pub mod resolvers;
pub mod server;

pub use answer::{Client, Verdict, decide};
pub use resolvers::Resolvers;
