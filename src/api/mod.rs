//! The API types of group applink.dev, their conditions and their custom resource definitions.

pub mod conditions;
mod crds;
pub mod duration;
mod effective;
pub mod quantity;
pub mod v1alpha1;

pub use crds::{crds, yaml};
