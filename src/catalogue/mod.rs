//! Releases: the embedded catalogue, its overlay and resolution.
