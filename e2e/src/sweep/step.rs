//! Which step a write belongs to, told from outside: by what is written.

mod rollout;

use std::collections::BTreeSet;

use hyper::Method;
use serde_json::Value;

use crate::write_proxy::Write;

/// What happens while writes are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
pub enum Phase {
    /// From a new member to a mesh that is up to date.
    Install,
    /// From one release to another.
    Upgrade,
    /// From a release to one that fails, and back.
    Rollback,
    /// From a deleted member to a clean cluster.
    Leave,
}

impl Phase {
    /// All, in order.
    pub const ALL: [Self; 4] = [Self::Install, Self::Upgrade, Self::Rollback, Self::Leave];
}

/// Every step, in order. `Status` is what is told on the way, in any phase. Verify of an upgrade writes nothing but that: to
/// die in it is to die after the last node has arrived, or before the first write of Finish.
pub const STEPS: [(Phase, &str); 35] = [
    (Phase::Install, "Preflight"),
    (Phase::Install, "Trust"),
    (Phase::Install, "CRDs"),
    (Phase::Install, "ControlPlane"),
    (Phase::Install, "Nodes"),
    (Phase::Install, "Verify"),
    (Phase::Install, "Status"),
    (Phase::Upgrade, "Begin"),
    (Phase::Upgrade, "Prepull"),
    (Phase::Upgrade, "ControlPlane"),
    (Phase::Upgrade, "Nodes"),
    (Phase::Upgrade, "Verify"),
    (Phase::Upgrade, "Finish"),
    (Phase::Upgrade, "Retire"),
    (Phase::Upgrade, "Done"),
    (Phase::Upgrade, "Status"),
    (Phase::Rollback, "Begin"),
    (Phase::Rollback, "Prepull"),
    (Phase::Rollback, "ControlPlane"),
    (Phase::Rollback, "Nodes"),
    (Phase::Rollback, "Failure"),
    (Phase::Rollback, "Back"),
    (Phase::Rollback, "Retire"),
    (Phase::Rollback, "Done"),
    (Phase::Rollback, "Status"),
    (Phase::Leave, "Unenrol"),
    (Phase::Leave, "Proxies"),
    (Phase::Leave, "Agents"),
    (Phase::Leave, "Check"),
    (Phase::Leave, "CheckGone"),
    (Phase::Leave, "Rest"),
    (Phase::Leave, "Namespace"),
    (Phase::Leave, "Sweep"),
    (Phase::Leave, "Finalizer"),
    (Phase::Leave, "Status"),
];

/// The step that a write belongs to. What was done `before` in this run tells the writes of a rollout apart.
pub fn step(phase: Phase, write: &Write, before: &Done) -> &'static str {
    if matches!(phase, Phase::Upgrade | Phase::Rollback) {
        return rollout::step(phase, write, before);
    }
    let path = write.path.as_str();
    let is = |part: &str| path.contains(part);
    let own = is("/apis/applink.dev/");
    if own && path.ends_with("/status") {
        let settles = phase == Phase::Install && is("/meshmembers/") && settles(&write.body);
        return if settles { "Verify" } else { "Status" };
    }
    let deletes = write.method == Method::DELETE;
    match phase {
        Phase::Install if own => "Preflight",
        Phase::Install if is("/secrets/") => "Trust",
        Phase::Install if is("/customresourcedefinitions") => "CRDs",
        Phase::Install if is("/daemonsets") || is("/nodes/") || is("/pods/") => "Nodes",
        Phase::Install => "ControlPlane",
        Phase::Leave if own => "Finalizer",
        Phase::Leave if is("applink-leave-check") && deletes => "CheckGone",
        Phase::Leave if is("applink-leave-check") => "Check",
        Phase::Leave if path == "/api/v1/namespaces/applink-system" => "Namespace",
        Phase::Leave if path.starts_with("/api/v1/namespaces/") && !deletes => "Unenrol",
        Phase::Leave if is("/daemonsets/ztunnel") => "Proxies",
        Phase::Leave if is("/daemonsets/istio-cni") => "Agents",
        Phase::Leave if is("/leases/") || is("/gatewayclasses/") || is("/secrets/") => "Sweep",
        Phase::Leave if made_by_istiod(path) => "Sweep",
        _ => "Rest",
    }
}

/// What the server has done in a run.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// Steps that have written.
    steps: BTreeSet<&'static str>,
    /// Nodes that have arrived at a revision.
    arrived: BTreeSet<String>,
}

impl Done {
    /// Remembers a write that was done.
    pub fn add(&mut self, of: &'static str, write: &Write) {
        self.steps.insert(of);
        if rollout::is_arrival(write) {
            self.arrived.insert(write.path.clone());
        }
    }

    /// Whether a step has written.
    pub fn has(&self, step: &str) -> bool {
        self.steps.contains(step)
    }

    /// With this write the last of so many nodes has arrived.
    pub fn is_last_arrival(&self, write: &Write, nodes: usize) -> bool {
        rollout::is_arrival(write)
            && !self.arrived.contains(&write.path)
            && self.arrived.len() + 1 == nodes
    }
}

/// Locks and certificates that istiod spreads; its own configuration `istio-<version>` is ours.
fn made_by_istiod(path: &str) -> bool {
    let Some((_, name)) = path.split_once("/configmaps/") else {
        return false;
    };
    let ours = name
        .strip_prefix("istio-")
        .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()));
    name.starts_with("istio-") && !ours
}

/// The status that records what runs: nothing moves any more.
fn settles(body: &[u8]) -> bool {
    let Ok(body) = serde_json::from_slice::<Value>(body) else {
        return false;
    };
    body.pointer("/status/version/current").is_some() && body.pointer("/status/rollout").is_none()
}

/// The step that a status tells of, as the operator calls it.
pub fn told(write: &Write) -> Option<String> {
    let body: Value = serde_json::from_slice(&write.body).ok()?;
    Some(body.pointer("/status/rollout/step")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use hyper::body::Bytes;

    use super::*;

    fn write(method: Method, path: &str, body: &str) -> Write {
        Write {
            number: 1,
            method,
            path: path.to_owned(),
            body: Bytes::copy_from_slice(body.as_bytes()),
            done: None,
        }
    }

    #[test]
    fn each_write_belongs_to_the_step_that_makes_it() {
        use Phase::{Install, Leave};
        let system = "/api/v1/namespaces/applink-system";
        let member = "/apis/applink.dev/v1alpha1/meshmembers/m";
        let crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/a";
        let apps = "/apis/apps/v1/namespaces/applink-system";
        let rows = [
            (Install, "PATCH", member.to_owned(), "Preflight"),
            (
                Install,
                "POST",
                "/apis/applink.dev/v1alpha1/applicationnetworks".to_owned(),
                "Preflight",
            ),
            (
                Install,
                "PATCH",
                format!("{system}/secrets/cacerts"),
                "Trust",
            ),
            (Install, "PATCH", crd.to_owned(), "CRDs"),
            (Install, "PATCH", system.to_owned(), "ControlPlane"),
            (
                Install,
                "PATCH",
                format!("{apps}/deployments/i"),
                "ControlPlane",
            ),
            (
                Install,
                "PATCH",
                format!("{apps}/daemonsets/ztunnel-1"),
                "Nodes",
            ),
            (Install, "PATCH", format!("{member}/status"), "Status"),
            (
                Leave,
                "PATCH",
                "/api/v1/namespaces/shop".to_owned(),
                "Unenrol",
            ),
            (
                Leave,
                "DELETE",
                format!("{apps}/daemonsets/ztunnel-1"),
                "Proxies",
            ),
            (
                Leave,
                "DELETE",
                format!("{apps}/daemonsets/istio-cni-node"),
                "Agents",
            ),
            (
                Leave,
                "PATCH",
                format!("{apps}/daemonsets/applink-leave-check"),
                "Check",
            ),
            (
                Leave,
                "DELETE",
                format!("{apps}/daemonsets/applink-leave-check"),
                "CheckGone",
            ),
            (
                Leave,
                "DELETE",
                format!("{apps}/deployments/istiod-1-6-0"),
                "Rest",
            ),
            (
                Leave,
                "DELETE",
                format!("{system}/configmaps/istio-1-6-0"),
                "Rest",
            ),
            (Leave, "DELETE", format!("{system}/services/istiod"), "Rest"),
            (Leave, "PATCH", system.to_owned(), "Namespace"),
            (
                Leave,
                "DELETE",
                format!("{system}/secrets/cacerts"),
                "Sweep",
            ),
            (
                Leave,
                "DELETE",
                "/api/v1/namespaces/default/configmaps/istio-ca-root-cert".to_owned(),
                "Sweep",
            ),
            (Leave, "PATCH", format!("{member}/status"), "Status"),
            (Leave, "PATCH", member.to_owned(), "Finalizer"),
        ];
        let none = Done::default();
        for (phase, method, path, expected) in rows {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let found = step(phase, &write(method.clone(), &path, ""), &none);
            assert_eq!(found, expected, "{method} {path}");
            assert!(STEPS.contains(&(phase, found)), "{found} is listed");
        }
    }

    #[test]
    fn a_status_tells_its_step_and_the_one_that_settles_belongs_to_verify() {
        let path = "/apis/applink.dev/v1alpha1/meshmembers/m/status";
        let moving =
            r#"{"status": {"rollout": {"step": "Nodes"}, "version": {"target": "1.6.0"}}}"#;
        let settled = r#"{"status": {"version": {"current": "1.6.0"}}}"#;
        let of = |body| write(Method::PATCH, path, body);
        let none = Done::default();
        let step = |phase, write: &Write| step(phase, write, &none);
        assert_eq!(step(Phase::Install, &of(moving)), "Status");
        assert_eq!(told(&of(moving)).as_deref(), Some("Nodes"));
        assert_eq!(step(Phase::Install, &of(settled)), "Verify");
        assert_eq!(step(Phase::Leave, &of(settled)), "Status");
        assert_eq!(told(&of("no json")), None);
    }
}
