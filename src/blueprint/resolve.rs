//! From what users wrote and what was found out to a [`Blueprint`](super::Blueprint).
