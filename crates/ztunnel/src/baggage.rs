//! The baggage header.
