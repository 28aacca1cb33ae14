//! Everything the desired objects of one member are computed from, resolved and validated.
