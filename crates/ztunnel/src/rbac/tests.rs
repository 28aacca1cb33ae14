//! Tables for authorization.
