//! istio-cni as it behaves: a pod is announced to the newest connection only, and the full list is sent only on connect.

use std::collections::{BTreeMap, BTreeSet};

/// Who is served by whom, by node.
#[derive(Clone, Debug, Default)]
pub struct Mesh {
    nodes: BTreeMap<String, Node>,
    counter: u64,
}

#[derive(Clone, Debug, Default)]
struct Node {
    /// Enrolled pods.
    pods: BTreeSet<u64>,
    /// Proxies with a connection to the agent, the newest last.
    connections: Vec<String>,
    /// What each proxy serves.
    served: BTreeMap<String, BTreeSet<u64>>,
    stood_down: BTreeSet<String>,
}

impl Mesh {
    /// A proxy makes a connection, and gets the full list.
    pub fn connect(&mut self, node: &str, proxy: &str) {
        let node = self.nodes.entry(node.to_owned()).or_default();
        node.connections.retain(|one| one != proxy);
        node.connections.push(proxy.to_owned());
        node.served.insert(proxy.to_owned(), node.pods.clone());
    }

    /// The proxy that new connections of a node go through.
    pub fn newest(&self, node: &str) -> Option<&str> {
        let connections = &self.nodes.get(node)?.connections;
        connections.last().map(String::as_str)
    }

    /// A proxy is told to take a new connection.
    pub fn reconnect(&mut self, node: &str, proxy: &str) {
        self.nodes
            .entry(node.to_owned())
            .or_default()
            .stood_down
            .remove(proxy);
        self.connect(node, proxy);
    }

    pub fn stand_down(&mut self, node: &str, proxy: &str) {
        let node = self.nodes.entry(node.to_owned()).or_default();
        node.stood_down.insert(proxy.to_owned());
    }

    /// The agent is gone: connections break, what is served stays served.
    pub fn disconnect(&mut self, node: &str) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.connections.clear();
        }
    }

    /// A proxy ends.
    pub fn remove(&mut self, node: &str, proxy: &str) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.connections.retain(|one| one != proxy);
            node.served.remove(proxy);
            node.stood_down.remove(proxy);
        }
    }

    pub fn forget(&mut self, node: &str) {
        self.nodes.remove(node);
    }

    pub fn stands_down(&self, node: &str, proxy: &str) -> bool {
        self.nodes
            .get(node)
            .is_some_and(|node| node.stood_down.contains(proxy))
    }

    /// A pod starts, if somebody is there to serve it.
    pub fn create(&mut self, node: &str) {
        self.counter += 1;
        let uid = self.counter;
        let node = self.nodes.entry(node.to_owned()).or_default();
        if let Some(newest) = node.connections.last() {
            node.served.entry(newest.clone()).or_default().insert(uid);
            node.pods.insert(uid);
        }
    }

    /// The oldest pod ends.
    pub fn delete(&mut self, node: &str) {
        let Some(node) = self.nodes.get_mut(node) else {
            return;
        };
        if let Some(uid) = node.pods.pop_first() {
            for served in node.served.values_mut() {
                served.remove(&uid);
            }
        }
    }

    /// No enrolled pod is there.
    pub fn is_vacant(&self, node: &str) -> bool {
        self.nodes.get(node).is_none_or(|node| node.pods.is_empty())
    }

    /// Pods of the node that this proxy does not serve.
    pub fn missing(&self, node: &str, proxy: &str) -> usize {
        self.nodes.get(node).map_or(0, |node| {
            node.served.get(proxy).map_or(node.pods.len(), |served| {
                node.pods.difference(served).count()
            })
        })
    }

    /// Pods that no proxy serves, by node.
    pub fn orphans(&self) -> usize {
        self.nodes
            .values()
            .map(|node| {
                let served: BTreeSet<u64> = node.served.values().flatten().copied().collect();
                node.pods.difference(&served).count()
            })
            .sum()
    }
}
