//! On which nodes a node component runs.

use k8s_openapi::api::core::v1::{
    Affinity, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm,
};

use crate::blueprint::{Blueprint, Revision};
use crate::names;

/// Where the proxies of one revision run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// On every supported node: the settled revision while nothing is rolled out.
    Everywhere,
    /// On every supported node but those that carry this arriving revision: the settled one during a rollout.
    Except(Revision),
    /// Only on nodes that carry the proxy's own revision, or are moving to it: the arriving one.
    Only(Revision),
}

/// Architectures our images are built for.
const ARCHITECTURES: [&str; 2] = ["amd64", "arm64"];

/// Requirements a node of the mesh meets, whatever is rolled out.
///
/// Both node components tolerate every taint, so nodes without a kernel of ours must be left out here: virtual-kubelet
/// and Fargate would accept the pod and never run it. The user's node selector is part of it and not of `nodeSelector`,
/// because the CNI agent recognises that its node has left the mesh by required node affinity alone (it cleans up then).
fn supported(blueprint: &Blueprint) -> Vec<NodeSelectorRequirement> {
    let mut requirements = vec![
        requirement("kubernetes.io/arch", "In", &ARCHITECTURES),
        requirement("type", "NotIn", &["virtual-kubelet"]),
        requirement("eks.amazonaws.com/compute-type", "NotIn", &["fargate"]),
    ];
    requirements.extend(
        blueprint
            .node_selector
            .iter()
            .map(|(key, value)| requirement(key, "In", &[value])),
    );
    requirements
}

/// Affinity of the CNI agent; never changes in a rollout.
#[must_use]
pub fn of_agent(blueprint: &Blueprint) -> Affinity {
    required(supported(blueprint))
}

/// Affinity of a proxy placed like this.
#[must_use]
pub fn of_proxy(blueprint: &Blueprint, placement: &Placement) -> Affinity {
    let mut requirements = supported(blueprint);
    match placement {
        Placement::Everywhere => {}
        Placement::Except(arriving) => requirements.push(requirement(
            names::NODE_ZTUNNEL_LABEL,
            "NotIn",
            &[arriving.as_str()],
        )),
        Placement::Only(own) => requirements.push(requirement(
            names::NODE_ZTUNNEL_LABEL,
            "In",
            &[&names::moving(own.as_str()), own.as_str()],
        )),
    }
    required(requirements)
}

fn requirement(key: &str, operator: &str, values: &[&str]) -> NodeSelectorRequirement {
    NodeSelectorRequirement {
        key: key.to_owned(),
        operator: operator.to_owned(),
        values: Some(values.iter().map(|&value| value.to_owned()).collect()),
    }
}

fn required(match_expressions: Vec<NodeSelectorRequirement>) -> Affinity {
    only(NodeSelectorTerm {
        match_expressions: Some(match_expressions),
        ..NodeSelectorTerm::default()
    })
}

/// On this node, by its name: labels may be anybody's.
pub(super) fn on_node(name: &str) -> Affinity {
    only(NodeSelectorTerm {
        match_fields: Some(vec![requirement("metadata.name", "In", &[name])]),
        ..NodeSelectorTerm::default()
    })
}

fn only(term: NodeSelectorTerm) -> Affinity {
    Affinity {
        node_affinity: Some(NodeAffinity {
            required_during_scheduling_ignored_during_execution: Some(NodeSelector {
                node_selector_terms: vec![term],
            }),
            ..NodeAffinity::default()
        }),
        ..Affinity::default()
    }
}
