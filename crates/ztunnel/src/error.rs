//! Shared error vocabulary.
