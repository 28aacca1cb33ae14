//! A real Kubernetes cluster on one Linux machine without Docker, and the scenarios run on it.

pub mod audit;
pub mod write_proxy;
