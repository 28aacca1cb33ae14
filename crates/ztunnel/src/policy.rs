//! Authorization policies.
