//! From one revision to another: by a release, by a template, under traffic, with deaths, on nodes that come and go.

mod deaths_rollout;
mod gateways;
mod held;
mod orphans;
mod overlap;
mod releases;
mod rollout_nodes;
mod template;
mod template_watch;
mod versions;
pub mod watched;
mod windows;
