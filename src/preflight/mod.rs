//! Checks before the first act, each with a code and a remedy.
