//! Log lines: format, level, and the thread that writes them.
