//! The shell: watches, reads, applies, leads.
