//! Nodes of a cluster: how they come and go.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::Node as ApiNode;
use kube::api::{Api, ListParams};

use super::{Cluster, Error, MOST_NODES, alone, eventually};
use crate::node::{Node, Surroundings};
use crate::{cgroup, files, network};

impl Cluster {
    /// Adds a node and waits until it is Ready; its name.
    pub async fn add_node(&mut self) -> Result<String, Error> {
        let _alone = alone(&self.name)?;
        self.add_node_alone().await
    }

    pub(super) async fn add_node_alone(&mut self) -> Result<String, Error> {
        if self.state.nodes.len() >= usize::from(MOST_NODES) {
            return Err(Error::NodeCount);
        }
        let node = Node::new(self.state.free_number());
        let name = node.name();
        self.state.nodes.push(node);
        self.state.nodes.sort_by_key(|node| node.number);
        self.save()?;
        self.start_node_alone(&name).await?;
        Ok(name)
    }

    /// Starts a stopped or killed node with the disk it had, and waits until it is Ready.
    pub async fn start_node(&mut self, name: &str) -> Result<(), Error> {
        let _alone = alone(&self.name)?;
        self.start_node_alone(name).await
    }

    async fn start_node_alone(&mut self, name: &str) -> Result<(), Error> {
        let (around, images) = (self.surroundings(), self.state.images.clone());
        let node = self.node_mut(name)?;
        if node.init().is_some() {
            return Err(Error::NodeState {
                node: name.to_owned(),
                state: "running",
            });
        }
        let number = node.number;
        let failed = |source| Error::Node { number, source };
        boot(node, &around, &images)?;
        node.join(&around).map_err(failed)?;
        self.route()?;
        self.save()?;
        self.nodes_ready().await?;
        self.progress.say(format!("{name} is Ready"));
        Ok(())
    }

    /// Ends a node in order (the kubelet first), or like a power cut. The API server learns of it
    /// only by silence.
    pub fn halt_node(&mut self, name: &str, orderly: bool) -> Result<(), Error> {
        let _alone = alone(&self.name)?;
        self.halt_node_alone(name, orderly)
    }

    fn halt_node_alone(&mut self, name: &str, orderly: bool) -> Result<(), Error> {
        let node = self.node_mut(name)?;
        let number = node.number;
        node.halt(orderly)
            .map_err(|source| Error::Node { number, source })?;
        network::detach_node(self.ground(), number);
        self.route()?;
        self.save()?;
        self.progress.say(format!("{name} is stopped"));
        Ok(())
    }

    /// Ends a node, deletes its object and its disk.
    pub fn remove_node(&mut self, name: &str) -> Result<(), Error> {
        let _alone = alone(&self.name)?;
        self.halt_node_alone(name, false)?;
        self.kubectl(&["delete", "node", name, "--ignore-not-found"])?;
        cgroup::remove(&format!("{}/{name}", self.network().cgroup()))?;
        let node = self.node_mut(name)?.clone();
        files::remove_dir(&node.folder(&self.folder))?;
        self.state.nodes.retain(|other| other.number != node.number);
        self.save()?;
        self.progress.say(format!("{name} is removed"));
        Ok(())
    }

    /// The node of that name.
    pub fn node(&self, name: &str) -> Result<&Node, Error> {
        (self.state.nodes.iter().find(|node| node.name() == name)).ok_or_else(|| self.no_node(name))
    }

    fn node_mut(&mut self, name: &str) -> Result<&mut Node, Error> {
        let missing = self.no_node(name);
        (self.state.nodes.iter_mut().find(|node| node.name() == name)).ok_or(missing)
    }

    fn no_node(&self, name: &str) -> Error {
        Error::NoNode {
            cluster: self.name.clone(),
            node: name.to_owned(),
            known: self
                .state
                .nodes
                .iter()
                .map(Node::name)
                .collect::<Vec<_>>()
                .join(", "),
        }
    }

    pub(super) async fn nodes_ready(&self) -> Result<(), Error> {
        let nodes = Api::<ApiNode>::all(self.client().await?);
        let running: Vec<String> = self
            .state
            .nodes
            .iter()
            .filter(|node| node.init().is_some())
            .map(Node::name)
            .collect();
        eventually("nodes are", async || {
            let Ok(list) = nodes.list(&ListParams::default()).await else {
                return false;
            };
            let ready: Vec<_> = list
                .into_iter()
                .filter(is_ready)
                .filter_map(|node| node.metadata.name)
                .collect();
            running.iter().all(|name| ready.contains(name))
        })
        .await
    }
}

/// Starts a node's namespaces and containerd, and gives it the images.
pub(super) fn boot(
    node: &mut Node,
    around: &Surroundings,
    images: &[PathBuf],
) -> Result<(), Error> {
    let number = node.number;
    let failed = |source| Error::Node { number, source };
    node.boot(around).map_err(failed)?;
    images
        .iter()
        .try_for_each(|image| node.import(image).map_err(failed))
}

/// Its kubelet says so.
pub(crate) fn is_ready(node: &ApiNode) -> bool {
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|conditions| {
        conditions
            .iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True")
    })
}
