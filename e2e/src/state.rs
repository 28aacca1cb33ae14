//! What is remembered of a cluster between two runs of the program.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::files;
use crate::node::Node;
use crate::process::Record;

/// The state of a cluster, kept as `state.json` in its folder.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct State {
    /// Decides the addresses.
    pub slot: u8,
    /// Whether a start came to its end.
    pub complete: bool,
    /// The folder of the Kubernetes programs it was started with.
    pub programs: PathBuf,
    /// The ground and the control plane.
    pub processes: Vec<Record>,
    /// The nodes, by number.
    pub nodes: Vec<Node>,
    /// Image archives given to every node, in the order they were loaded.
    pub images: Vec<PathBuf>,
}

impl State {
    /// The state kept in a cluster's folder; nothing when there is none that can be read, which
    /// is what a start that was cut short leaves.
    pub fn read(folder: &Path) -> Option<Self> {
        serde_json::from_str(&files::read(&Self::path(folder)).ok()?).ok()
    }

    /// Keeps the state.
    pub fn write(&self, folder: &Path) -> Result<(), files::Error> {
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        files::write(&Self::path(folder), text)
    }

    fn path(folder: &Path) -> PathBuf {
        folder.join("state.json")
    }

    /// The process of that name outside of nodes.
    pub fn process(&self, name: &str) -> Option<&Record> {
        self.processes.iter().find(|record| record.name == name)
    }

    /// Whether everything that was started still runs.
    pub fn is_running(&self) -> bool {
        self.complete
            && self.processes.iter().all(Record::is_running)
            && self
                .nodes
                .iter()
                .flat_map(|node| &node.processes)
                .all(Record::is_running)
    }

    /// Running nodes: number, and first process.
    pub fn running(&self) -> Vec<(u8, i32)> {
        self.nodes
            .iter()
            .filter_map(|node| Some((node.number, node.init()?)))
            .collect()
    }

    /// The lowest number that no node has.
    pub fn free_number(&self) -> u8 {
        (1..=u8::MAX)
            .find(|number| self.nodes.iter().all(|node| node.number != *number))
            .unwrap_or(u8::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_number_is_used_again() {
        let nodes = [1, 3].map(Node::new).to_vec();
        let state = State {
            nodes,
            ..State::default()
        };
        assert_eq!(state.free_number(), 2);
    }

    #[test]
    fn a_half_written_state_counts_as_none() {
        let folder = crate::process::temporary_folder("state").unwrap();
        assert!(State::read(&folder).is_none());
        State::default().write(&folder).unwrap();
        assert!(State::read(&folder).is_some());
        files::write(&folder.join("state.json"), "{\"slot\": 1, ").unwrap();
        assert!(State::read(&folder).is_none());
        files::remove_dir(&folder).unwrap();
    }
}
