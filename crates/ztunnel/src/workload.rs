//! Workloads as the proxy sees them.
