//! Steps of an install: what to do next, what to wait for.
