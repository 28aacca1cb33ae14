//! Addresses by role.
