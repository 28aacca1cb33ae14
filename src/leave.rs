//! The order in which a member leaves its cluster.
