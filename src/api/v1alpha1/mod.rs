//! Version `v1alpha1` of the API: the shapes users write and read.
//!
//! Serde and schema only; nothing here decides. Conventions: discriminated unions carry `type` and one field named
//! after it; an absent field means its effective default, which is a function (see [`super::effective`]), never a
//! default in the schema; a field whose behaviour has not landed yet is refused by a rule that says so.

#![allow(
    clippy::doc_markdown,
    reason = "the comments are the descriptions in the schema, read as plain text"
)]

mod data_plane;
mod member;
mod member_status;
mod network;
mod release;
mod selector;
mod upgrade;

pub use data_plane::*;
pub use member::*;
pub use member_status::*;
pub use network::*;
pub use release::*;
pub use selector::*;
pub use upgrade::*;
