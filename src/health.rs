//! Live objects to readiness: rollout arithmetic and gates.
