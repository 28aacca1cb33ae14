//! The applink node proxy: an Istio-ambient ztunnel as a library.
//!
//! Layers, a lower number never imports a higher one:
//!
//! ```text
//! 1 identity baggage addr buffer error drain
//! 2 proto
//! 3 workload service policy
//! 4 rbac store balance
//! 5 tls control ca xds hbone copy socket readiness metrics access_log report
//! 6 dns proxy
//! 7 inpod
//! 8 logging admin config app
//! ```

pub mod access_log;
pub mod addr;
pub mod admin;
pub mod app;
pub mod baggage;
pub mod balance;
pub mod buffer;
pub mod ca;
pub mod config;
pub mod control;
pub mod copy;
pub mod dns;
pub mod drain;
pub mod error;
pub mod hbone;
pub mod identity;
pub mod inpod;
pub mod logging;
pub mod metrics;
pub mod policy;
pub mod proto;
pub mod proxy;
pub mod rbac;
pub mod readiness;
pub mod report;
pub mod service;
pub mod socket;
pub mod store;
pub mod tls;
pub mod workload;
pub mod xds;
