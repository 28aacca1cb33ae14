//! Tables for load balancing.
