//! Per-component settings with their defaults.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::api::v1alpha1::{LogLevel, ZtunnelImplementation};

/// Settings of the node proxy.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeProxy {
    /// Which program.
    pub implementation: ZtunnelImplementation,
    /// Requests and limits of its container.
    pub resources: ResourceRequirements,
    /// Log level.
    pub log_level: LogLevel,
    /// How long connections may live on after SIGTERM; the pod's grace is 5 s more.
    pub drain_timeout: Duration,
}

impl Default for NodeProxy {
    fn default() -> Self {
        Self {
            implementation: ZtunnelImplementation::default(),
            resources: requests("50m", "64Mi"),
            log_level: LogLevel::default(),
            drain_timeout: Duration::from_mins(1),
        }
    }
}

/// Settings of the CNI agent.
#[derive(Clone, Debug, PartialEq)]
pub struct Agent {
    /// Take the taint `cni.istio.io/not-ready` off nodes once the agent runs there.
    pub startup_taint: bool,
    /// Requests and limits of its container.
    pub resources: ResourceRequirements,
    /// Log level.
    pub log_level: LogLevel,
}

impl Default for Agent {
    fn default() -> Self {
        Self {
            startup_taint: false,
            resources: requests("20m", "64Mi"),
            log_level: LogLevel::default(),
        }
    }
}

/// Who decides how many replicas of istiod there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replicas {
    /// We do.
    Fixed(i32),
    /// An autoscaler does, with at least this many: the field is not ours.
    Autoscaled {
        /// The autoscaler's minimum.
        least: i32,
    },
}

impl Replicas {
    /// How many there are at least.
    #[must_use]
    pub fn least(self) -> i32 {
        match self {
            Self::Fixed(count) | Self::Autoscaled { least: count } => count,
        }
    }
}

/// Settings of istiod.
#[derive(Clone, Debug, PartialEq)]
pub struct ControlPlane {
    /// Replicas of the Deployment.
    pub replicas: Replicas,
    /// Requests and limits of its container.
    pub resources: ResourceRequirements,
}

impl Default for ControlPlane {
    fn default() -> Self {
        Self {
            replicas: Replicas::Fixed(2),
            resources: requests("100m", "256Mi"),
        }
    }
}

/// Defaults of every waypoint.
#[derive(Clone, Debug, PartialEq)]
pub struct WaypointDefaults {
    /// Replicas of each waypoint.
    pub replicas: i32,
    /// Requests and limits of each waypoint.
    pub resources: ResourceRequirements,
}

impl Default for WaypointDefaults {
    fn default() -> Self {
        let mut resources = requests("100m", "128Mi");
        resources.limits = Some(amounts("2", "1Gi"));
        Self {
            replicas: 2,
            resources,
        }
    }
}

/// Requests of CPU and memory, without limits: a limit on a node proxy throttles every pod of the node.
fn requests(cpu: &str, memory: &str) -> ResourceRequirements {
    ResourceRequirements {
        requests: Some(amounts(cpu, memory)),
        ..ResourceRequirements::default()
    }
}

fn amounts(cpu: &str, memory: &str) -> BTreeMap<String, Quantity> {
    BTreeMap::from([
        ("cpu".into(), Quantity(cpu.into())),
        ("memory".into(), Quantity(memory.into())),
    ])
}
