//! Pods of this node: what the node agent tells over ZDS, and the listeners inside each pod's network namespace.
//!
//! Layer 7.

mod pods;

pub use crate::proxy::Info;
pub use pods::{Counters, Pod, Pods, State};
