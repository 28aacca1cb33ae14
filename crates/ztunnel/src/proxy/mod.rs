//! Inbound, outbound and passthrough connections.
