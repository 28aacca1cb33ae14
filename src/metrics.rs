//! Metric families of the operator.
