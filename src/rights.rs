//! What the operator may do, as few rights as it can work with, and which of them it lacks.
//!
//! It may *bind* the component roles by name and nothing else: it cannot write a role (no `escalate`), and it reads no
//! Secret outside its own namespace but `cacerts` and the copy of the pull secrets.

use k8s_openapi::api::authorization::v1::ResourceRule;
use k8s_openapi::api::rbac::v1::PolicyRule;

use crate::facts::Denied;
use crate::names;

/// What a watch needs: everything is read by watching, single objects only where a rule says `get`.
const READ: [&str; 2] = ["list", "watch"];
/// What server-side apply of an own object and its removal need.
const OWN: [&str; 5] = ["list", "watch", "create", "patch", "delete"];

/// Names of the component roles: what the operator may bind.
pub fn component_names() -> Vec<String> {
    crate::desired::rbac::cluster_roles()
        .into_iter()
        .filter_map(|role| role.metadata.name)
        .collect()
}

fn rule(groups: &[&str], resources: &[&str], verbs: &[&str]) -> PolicyRule {
    let owned = |list: &[&str]| {
        list.iter()
            .map(|item| (*item).to_owned())
            .collect::<Vec<_>>()
    };
    PolicyRule {
        api_groups: Some(owned(groups)),
        resources: Some(owned(resources)),
        verbs: owned(verbs),
        resource_names: None,
        non_resource_urls: None,
    }
}

fn named(groups: &[&str], resources: &[&str], names: &[&str], verbs: &[&str]) -> PolicyRule {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    PolicyRule {
        resource_names: Some(names),
        ..rule(groups, resources, verbs)
    }
}

/// What the operator may do in every namespace and on objects that belong to none.
pub fn everywhere() -> Vec<PolicyRule> {
    let components = component_names();
    let components: Vec<&str> = components.iter().map(String::as_str).collect();
    vec![
        // Our own kinds. A network named `default` is made on demand; members are never created, only finalized.
        rule(
            &[names::GROUP],
            &["meshmembers"],
            &["list", "watch", "patch"],
        ),
        rule(&[names::GROUP], &["meshreleases"], &READ),
        rule(
            &[names::GROUP],
            &["applicationnetworks"],
            &["list", "watch", "create"],
        ),
        rule(
            &[names::GROUP],
            &[
                "meshmembers/status",
                "applicationnetworks/status",
                "meshreleases/status",
            ],
            &["patch"],
        ),
        // Nodes: which need a proxy, the label and taint that move one, and what room one has.
        rule(&[""], &["nodes"], &["get", "list", "watch", "patch"]),
        // Namespaces: enrolment, the network label of the data plane's own, un-enrolment on leave.
        rule(&[""], &["namespaces"], &["list", "watch", "patch"]),
        // Pods: which are enrolled. Never changed outside the data plane's namespace.
        rule(&[""], &["pods"], &READ),
        // Preflight: a mesh of somebody else, policies that would block the tunnel.
        rule(&["apps"], &["daemonsets", "deployments"], &READ),
        rule(&["networking.k8s.io"], &["networkpolicies"], &READ),
        rule(
            &["admissionregistration.k8s.io"],
            &["mutatingwebhookconfigurations"],
            &READ,
        ),
        // Waypoints: which release has them, and the pin while the default moves.
        rule(
            &[names::GATEWAY_GROUP],
            &["gateways"],
            &["list", "watch", "patch"],
        ),
        // What istiod makes at run time and leaves behind: removed when the member leaves.
        named(
            &["gateway.networking.k8s.io"],
            &["gatewayclasses"],
            &names::GATEWAY_CLASSES,
            &["get", "delete"],
        ),
        named(
            &[""],
            &["configmaps"],
            &[names::ROOT_CONFIG_MAP, names::REVOKED_CONFIG_MAP],
            &["delete"],
        ),
        // Kinds of Istio and of the Gateway API. Deleting them is for the user.
        rule(
            &["apiextensions.k8s.io"],
            &["customresourcedefinitions"],
            &["list", "watch", "create", "patch"],
        ),
        rule(
            &["admissionregistration.k8s.io"],
            &["validatingwebhookconfigurations"],
            &OWN,
        ),
        // Bindings of the shipped roles, and only of those.
        rule(
            &["rbac.authorization.k8s.io"],
            &["clusterrolebindings"],
            &OWN,
        ),
        named(
            &["rbac.authorization.k8s.io"],
            &["clusterroles"],
            &components,
            &["bind"],
        ),
        rule(&["events.k8s.io"], &["events"], &["create", "patch"]),
        // Which of these rights it has, asked before anything is begun.
        rule(
            &["authorization.k8s.io"],
            &["selfsubjectrulesreviews"],
            &["create"],
        ),
    ]
}

/// What the operator may do in the data plane's namespace.
fn system() -> Vec<PolicyRule> {
    vec![
        rule(&["apps"], &["daemonsets", "deployments"], &OWN),
        // What pods of the node components were made from: somebody may have edited a template for a moment.
        rule(&["apps"], &["controllerrevisions"], &READ),
        rule(
            &[""],
            &[
                "configmaps",
                "serviceaccounts",
                "services",
                "resourcequotas",
            ],
            &OWN,
        ),
        rule(&[""], &["pods"], &["list", "watch", "delete"]),
        rule(&[""], &["pods/portforward"], &["get", "create"]),
        // istiod is asked for a certificate as the node proxy asks: with a token of its account.
        named(
            &[""],
            &["serviceaccounts/token"],
            &[names::ZTUNNEL],
            &["create"],
        ),
        // A create request carries no name when it is authorised, so it cannot be granted by name. Nothing is read but
        // `cacerts` and the copy of the pull secrets.
        rule(&[""], &["secrets"], &["create"]),
        named(
            &[""],
            &["secrets"],
            &[names::CACERTS_SECRET, names::PULL_SECRET],
            &["get", "list", "watch", "patch", "delete"],
        ),
        // istiod's replicas are left to an autoscaler of the user's.
        rule(&["autoscaling"], &["horizontalpodautoscalers"], &READ),
        rule(&["policy"], &["poddisruptionbudgets"], &OWN),
        rule(&["rbac.authorization.k8s.io"], &["rolebindings"], &OWN),
        rule(&["security.istio.io"], &["peerauthentications"], &OWN),
        rule(&["coordination.k8s.io"], &["leases"], &["list", "delete"]),
    ]
}

/// What the operator may do in namespace `default`: on OpenShift the CNI plugin is named there for Multus.
fn openshift() -> Vec<PolicyRule> {
    const GROUP: &[&str] = &["k8s.cni.cncf.io"];
    const KIND: &[&str] = &["network-attachment-definitions"];
    vec![
        rule(GROUP, KIND, &["create"]),
        named(
            GROUP,
            KIND,
            &["istio-cni"],
            &["list", "watch", "patch", "delete"],
        ),
    ]
}

/// What the operator may do in namespace `kube-system`: see how Cilium is set up.
fn network() -> Vec<PolicyRule> {
    vec![named(&[""], &["configmaps"], &["cilium-config"], &READ)]
}

/// What the operator may do in its own namespace.
fn home() -> Vec<PolicyRule> {
    vec![
        rule(
            &["coordination.k8s.io"],
            &["leases"],
            &["get", "create", "update"],
        ),
        rule(
            &[""],
            &["secrets"],
            &["get", "list", "watch", "create", "patch"],
        ),
    ]
}

/// What the operator may do in the namespace of its own probe: run small pods, and ask them.
fn probe() -> Vec<PolicyRule> {
    vec![
        rule(&[""], &["pods"], &["create", "patch", "delete"]),
        rule(&[""], &["pods/portforward"], &["get", "create"]),
    ]
}

/// What the operator may do in single namespaces.
pub fn by_namespace() -> [(&'static str, Vec<PolicyRule>); 5] {
    [
        (names::SYSTEM_NAMESPACE, system()),
        (names::PROBE_NAMESPACE, probe()),
        (names::OPERATOR_NAMESPACE, home()),
        ("default", openshift()),
        ("kube-system", network()),
    ]
}

/// Rights that an install needs.
#[derive(Clone, Debug)]
pub struct Needed {
    /// The namespace to ask about.
    pub asked_in: &'static str,
    /// The namespace they are for; empty for the whole cluster.
    pub namespace: &'static str,
    /// The rights.
    pub rules: Vec<PolicyRule>,
}

/// What must be known before something is begun. Rights in the whole cluster are asked for in the operator's own
/// namespace, where no role grants the same kinds.
pub fn needed() -> [Needed; 3] {
    let (system, home) = (names::SYSTEM_NAMESPACE, names::OPERATOR_NAMESPACE);
    let needed = |asked_in, namespace, rules| Needed {
        asked_in,
        namespace,
        rules,
    };
    [
        needed(home, "", everywhere()),
        needed(system, system, self::system()),
        needed(home, home, self::home()),
    ]
}

/// The needed rights that the API server does not list among the granted ones, each once.
pub fn lacking(needed: &Needed, granted: &[ResourceRule]) -> Vec<Denied> {
    let mut found = Vec::new();
    for one in &needed.rules {
        let each = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
        let mut objects: Vec<Option<String>> =
            each(&one.resource_names).into_iter().map(Some).collect();
        if objects.is_empty() {
            objects.push(None);
        }
        for group in each(&one.api_groups) {
            for resource in each(&one.resources) {
                for verb in &one.verbs {
                    let lacks = |name: &Option<String>| {
                        !granted
                            .iter()
                            .any(|rule| covers(rule, &group, &resource, verb, name.as_deref()))
                    };
                    if let Some(name) = objects.iter().find(|name| lacks(name)) {
                        found.push(Denied {
                            verb: verb.clone(),
                            resource: called(&resource, &group, name.as_deref()),
                            namespace: needed.namespace.to_owned(),
                        });
                    }
                }
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// `daemonsets.apps`, `secrets "cacerts"`.
fn called(resource: &str, group: &str, name: Option<&str>) -> String {
    let mut text = resource.to_owned();
    if !group.is_empty() {
        text = format!("{text}.{group}");
    }
    match name {
        Some(name) => format!("{text} {name:?}"),
        None => text,
    }
}

/// One granted rule allows this.
/// Source: kubernetes `pkg/apis/rbac/v1/evaluation_helpers.go` (1.36): `VerbMatches`, `APIGroupMatches`, `ResourceMatches`,
/// `ResourceNameMatches`.
fn covers(
    rule: &ResourceRule,
    group: &str,
    resource: &str,
    verb: &str,
    name: Option<&str>,
) -> bool {
    let has = |list: &Option<Vec<String>>, wanted: &str| {
        (list.iter().flatten()).any(|one| one == "*" || one == wanted)
    };
    let of_subresource = resource
        .split_once('/')
        .is_some_and(|(_, sub)| has(&rule.resources, &format!("*/{sub}")));
    let names = rule.resource_names.as_deref().unwrap_or_default();
    rule.verbs.iter().any(|one| one == "*" || one == verb)
        && has(&rule.api_groups, group)
        && (has(&rule.resources, resource) || of_subresource)
        && (names.is_empty() || name.is_some_and(|name| names.iter().any(|one| one == name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(rules: &[PolicyRule]) -> Vec<ResourceRule> {
        let as_listed = |rule: &PolicyRule| ResourceRule {
            api_groups: rule.api_groups.clone(),
            resources: rule.resources.clone(),
            resource_names: rule.resource_names.clone(),
            verbs: rule.verbs.clone(),
        };
        rules.iter().map(as_listed).collect()
    }

    fn told(rules: &[PolicyRule], granted: &[ResourceRule]) -> Vec<String> {
        let needed = Needed {
            asked_in: "here",
            namespace: "here",
            rules: rules.to_vec(),
        };
        lacking(&needed, granted)
            .into_iter()
            .map(|denied| format!("{} {}", denied.verb, denied.resource))
            .collect()
    }

    #[test]
    fn what_the_manifests_grant_is_all_that_is_needed() {
        for needed in needed() {
            assert_eq!(lacking(&needed, &granted(&needed.rules)), []);
        }
    }

    #[test]
    fn every_right_that_is_taken_away_is_named() {
        for Needed { rules, .. } in needed() {
            for at in 0..rules.len() {
                let mut left = rules.clone();
                let taken = left.remove(at);
                let expected = told(&[taken], &granted(&left));
                assert!(!expected.is_empty(), "{:?} is granted twice", rules[at]);
                assert_eq!(told(&rules, &granted(&left)), expected);
            }
        }
    }

    #[test]
    fn verb_kind_group_and_name_are_told() {
        let needed = [
            rule(&["apps"], &["daemonsets"], &["list", "patch"]),
            named(&[""], &["secrets"], &["cacerts", "other"], &["get"]),
        ];
        let some = [
            rule(&["apps"], &["daemonsets"], &["list"]),
            named(&[""], &["secrets"], &["cacerts"], &["get"]),
        ];
        assert_eq!(
            told(&needed, &granted(&some)),
            ["get secrets \"other\"", "patch daemonsets.apps"]
        );
    }

    #[test]
    fn wildcards_cover_and_a_rule_for_one_name_covers_no_other() {
        let needed = [rule(&[""], &["pods/portforward"], &["create"])];
        for (group, resource, verb) in [
            ("*", "*", "*"),
            ("", "*/portforward", "create"),
            ("", "pods/portforward", "*"),
        ] {
            let all = [rule(&[group], &[resource], &[verb])];
            assert_eq!(told(&needed, &granted(&all)), Vec::<String>::new());
        }
        let one = [named(&[""], &["pods/portforward"], &["x"], &["create"])];
        assert_eq!(told(&needed, &granted(&one)), ["create pods/portforward"]);
    }
}
