//! Workloads, services and policies in an immutable snapshot.
