//! Facts and outcome to status and conditions.
