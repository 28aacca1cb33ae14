//! Certificates for the identities of this node.
