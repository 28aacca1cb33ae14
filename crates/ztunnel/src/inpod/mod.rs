//! Pods of this node: what the node agent tells over ZDS, and the listeners inside each pod's network namespace.
//!
//! Layer 7. [`serve`] follows the agent; [`Pods`] shows who is served; [`Control`] takes the operator's calls.

mod agent;
mod keeper;
mod link;
mod packet;
mod pods;
mod start;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Handle;

use crate::drain::Drain;
use crate::proxy;
pub use crate::proxy::Info;
use crate::readiness::Blocker;
pub use agent::Control;
pub use pods::{Counters, Pod, Pods, State};
pub use start::Dns;

/// What serving pods needs.
pub struct Settings {
    /// The node agent's socket.
    pub socket: PathBuf,
    /// What the proxies of all pods share.
    pub shared: Arc<proxy::Shared>,
    /// DNS capture; `None` when off.
    pub dns: Option<Dns>,
    /// The runtime of pod traffic.
    pub workers: Handle,
    /// Who is served; shown elsewhere.
    pub pods: Pods,
    /// The operator's calls.
    pub control: Control,
    /// Raised until the agent has named every pod and all of them are served, and whenever the agent is away.
    pub blocker: Blocker,
    /// Of the process.
    pub drain: Drain,
}

/// Follows the node agent and serves the pods it names, until `drain` is cut.
pub async fn serve(settings: Settings) {
    let Settings {
        socket,
        shared,
        dns,
        workers,
        pods,
        control,
        blocker,
        drain,
    } = settings;
    let start = start::Starter {
        shared,
        dns,
        workers,
        drain: drain.clone(),
    };
    let keeper = keeper::Keeper::new(start, pods);
    agent::Agent {
        socket,
        keeper,
        control,
        blocker,
        drain,
    }
    .run()
    .await;
}
