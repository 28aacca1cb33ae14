//! What was observed, as plain data: the input of every decision.
