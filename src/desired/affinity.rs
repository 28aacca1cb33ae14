//! On which nodes a node component runs.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm,
};

use serde_json::Value;

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

/// Where a `DaemonSet` says on which nodes it runs.
pub const TERMS: &str = "/spec/template/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0/matchExpressions";

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

/// The user's node selector in the affinity of a node component as it is in the cluster: what [`of_agent`] and [`of_proxy`]
/// have written there. `None` where there is none of ours to read.
#[must_use]
pub fn node_selector(daemon_set: &Value) -> Option<BTreeMap<String, String>> {
    let term = daemon_set.pointer(TERMS)?;
    let of_user = |one: &NodeSelectorRequirement| match one.values.as_deref() {
        Some([value]) if one.operator == "In" => Some((one.key.clone(), value.clone())),
        _ => None,
    };
    let requirements: Vec<NodeSelectorRequirement> = serde_json::from_value(term.clone()).ok()?;
    Some(requirements.iter().filter_map(of_user).collect())
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::v1alpha1::LogLevel;
    use crate::plan::model::blueprint;

    #[test]
    fn the_selector_of_the_user_is_read_out_of_what_was_made_from_it() {
        let mut blueprint = blueprint(LogLevel::Info, LogLevel::Info);
        let arriving: Revision = "1-6-0-abcdef".parse().unwrap();
        for selector in [
            BTreeMap::new(),
            BTreeMap::from([
                ("kubernetes.io/arch".to_owned(), "arm64".to_owned()),
                ("pool".to_owned(), "mesh".to_owned()),
            ]),
        ] {
            blueprint.node_selector = selector.clone();
            for affinity in [
                of_agent(&blueprint),
                of_proxy(&blueprint, &Placement::Only(arriving.clone())),
                of_proxy(&blueprint, &Placement::Except(arriving.clone())),
            ] {
                let body = json!({"spec": {"template": {"spec": {"affinity": affinity}}}});
                assert_eq!(node_selector(&body), Some(selector.clone()));
            }
        }
        assert_eq!(node_selector(&json!({})), None);
    }
}
