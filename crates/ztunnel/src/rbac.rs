//! The decision whether a connection is allowed.
