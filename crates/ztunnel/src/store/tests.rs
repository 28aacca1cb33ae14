//! Tables and properties of the store.
