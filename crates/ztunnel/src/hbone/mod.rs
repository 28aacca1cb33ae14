//! Tunnels: the seam connect, accept, Stream.
