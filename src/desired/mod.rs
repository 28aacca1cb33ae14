//! Builders of every object of the data plane.
