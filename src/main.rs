//! The applink binary.

fn main() {}
