//! Nodes that a test adds and loses.

use e2e::cluster::Cluster;
use e2e::stage::Stage;

/// Nodes more, for the time of a test, also of a failed one.
pub struct Added {
    stage: &'static Stage,
    pub cluster: Cluster,
    pub names: Vec<String>,
}

impl Added {
    /// Adds so many; returns when they are Ready.
    pub async fn new(stage: &'static Stage, cluster: Cluster, count: usize) -> Self {
        let mut added = Self {
            stage,
            cluster,
            names: Vec::new(),
        };
        for _ in 0..count {
            added.names.push(added.cluster.add_node().await.unwrap());
        }
        added
    }

    /// Keeps pods off them that are not of a `DaemonSet`: on a node that is lost they would stay for the 5 minutes that
    /// Kubernetes waits.
    pub fn cordon(&self) {
        for node in &self.names {
            self.stage.cluster.kubectl(&["cordon", node]).unwrap();
        }
    }

    /// Like a power cut, of all of them.
    pub fn halt(&mut self) {
        for node in &self.names {
            self.cluster.halt_node(node, false).unwrap();
        }
    }
}

impl Drop for Added {
    fn drop(&mut self) {
        for name in &self.names {
            if self.cluster.node(name).is_ok() {
                // A failure here is not what the test is about.
                let _ = self.cluster.remove_node(name);
            }
            // At once what Kubernetes would collect within minutes.
            let selector = format!("--field-selector=spec.nodeName={name}");
            let mut arguments = vec!["delete", "pods", "-n", "applink-system", &selector];
            arguments.extend(["--force", "--grace-period=0"]);
            let _ = self.stage.cluster.kubectl(&arguments);
        }
    }
}
