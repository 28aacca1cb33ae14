//! Which Kubernetes distribution this is, and what follows from it.
