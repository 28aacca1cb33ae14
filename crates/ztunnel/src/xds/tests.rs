//! The session as a table, and the client against a server in the same process.
