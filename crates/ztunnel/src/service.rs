//! Services as the proxy sees them.
