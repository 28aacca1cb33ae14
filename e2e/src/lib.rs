//! A real Kubernetes cluster on one Linux machine without Docker, and the scenarios run on it.
//!
//! From the top, imports point down: `cluster`, `simulated` and `control_plane` (what tests and the binaries
//! use), `node`, `images`, `controllers`, `apiserver`, `programs`, then `certificates`, `network`, `process`,
//! `command`, `files`, `built`, `progress`.

pub mod apiserver;
pub mod audit;
pub mod bench_operator;
pub mod built;
pub mod caught;
pub mod certificates;
pub mod cgroup;
pub mod chaos;
pub mod churn;
pub mod cluster;
pub mod command;
pub mod control_plane;
pub mod controllers;
pub mod dns;
pub mod files;
pub mod forward;
pub mod images;
pub mod load;
pub mod network;
pub mod node;
pub mod prerequisites;
pub mod process;
pub mod programs;
pub mod progress;
pub mod releases;
pub mod rollouts;
pub mod served;
pub mod simulated;
pub mod slot;
pub mod sniff;
pub mod stage;
pub mod state;
pub mod sweep;
pub mod trace;
pub mod write_proxy;
