//! The local cluster.

fn main() {}
