//! The API types of group applink.dev.
