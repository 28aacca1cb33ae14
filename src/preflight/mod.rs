//! Checks before the first act, each with a code and a remedy. Pure: facts in, findings out.

mod cluster;
mod components;
mod finding;
mod images;
mod nodes;
mod policies;

use crate::api::v1alpha1::MeshMember;
use crate::catalogue::{Minor, Release};
use crate::names::{
    DATAPLANE_MODE_AMBIENT, DATAPLANE_MODE_LABEL, POD_SECURITY_LABEL, SYSTEM_NAMESPACE,
};

pub use cluster::{Cilium, Cluster, Crd, Injector, Node, Quota, Right, Rival, Taint, Workload};
pub use finding::{Code, Finding, Severity};
pub use nodes::{in_use, is_none_selected, is_supported};

/// Most findings that are reported; what blocks comes first.
pub const MAX_FINDINGS: usize = 64;

/// Most objects that one message names.
const NAMED: usize = 5;

/// Everything that is wrong with a cluster for this member and release, what blocks first.
///
/// `release` is `None` while the spec resolves to nothing; then what depends on it is left out.
pub fn check(cluster: &Cluster, member: &MeshMember, release: Option<&Release>) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(rights(cluster));
    findings.extend(rivals(cluster, member));
    findings.extend(kubernetes(cluster, release));
    findings.extend(nodes::check(cluster, member));
    findings.extend(components::check(cluster, release));
    findings.extend(images::check(cluster, member));
    findings.extend(system_namespace(cluster, member));
    findings.extend(policies::check(cluster));
    findings.sort_by_key(|finding| finding.severity);
    findings.truncate(MAX_FINDINGS);
    findings
}

/// Whether anything blocks.
pub fn blocks(findings: &[Finding]) -> bool {
    findings
        .iter()
        .any(|finding| finding.severity == Severity::Block)
}

/// Whether work must not go on: before the first install whatever blocks, and afterwards only what would take the mesh
/// away from everybody who uses it, unless it is known where it runs.
pub fn stops(findings: &[Finding], is_installed: bool) -> bool {
    if is_installed {
        findings
            .iter()
            .any(|finding| finding.code == Code::NoNodeSelected)
    } else {
        blocks(findings)
    }
}

fn rights(cluster: &Cluster) -> Option<Finding> {
    let wanted: Vec<String> = cluster.missing_rights.iter().map(right).collect();
    (!wanted.is_empty()).then(|| Finding {
        code: Code::MissingRights,
        severity: Severity::Block,
        object: "ServiceAccount applink-operator/applink-operator".to_owned(),
        message: format!("the operator may not {}", some_of(&wanted)),
        remedy: "apply the operator's manifests of this version again; they contain the roles"
            .to_owned(),
    })
}

fn right(right: &Right) -> String {
    let Right {
        verb,
        resource,
        namespace,
    } = right;
    if namespace.is_empty() {
        format!("{verb} {resource}")
    } else {
        format!("{verb} {resource} in namespace {namespace}")
    }
}

/// The oldest member of a cluster keeps it; of equally old ones the first by name.
fn rivals(cluster: &Cluster, member: &MeshMember) -> Option<Finding> {
    let name = member.metadata.name.as_deref().unwrap_or_default();
    let created = member
        .metadata
        .creation_timestamp
        .as_ref()
        .map(|time| time.0)?;
    let oldest = cluster
        .rivals
        .iter()
        .filter(|rival| rival.name != name)
        .min_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)))?;
    ((oldest.created, oldest.name.as_str()) < (created, name)).then(|| Finding {
        code: Code::ClusterAlreadyMember,
        severity: Severity::Block,
        object: format!("MeshMember {name}"),
        message: format!(
            "MeshMember {} already stands for this cluster (kube-system uid {})",
            oldest.name, cluster.uid
        ),
        remedy: format!("delete MeshMember {name}; deleting it touches nothing in the cluster"),
    })
}

fn kubernetes(cluster: &Cluster, release: Option<&Release>) -> Option<Finding> {
    let finding = |message: String, remedy: String| Finding {
        code: Code::KubernetesUnsupported,
        severity: Severity::Block,
        object: "the API server".to_owned(),
        message,
        remedy,
    };
    let Some(minor) = Minor::of_kubernetes(&cluster.server_version) else {
        return Some(finding(
            format!("its version {:?} cannot be read", cluster.server_version),
            "report this with the output of kubectl version".to_owned(),
        ));
    };
    let release = release.filter(|release| !release.kubernetes.contains(minor))?;
    Some(finding(
        format!(
            "it is Kubernetes {minor}, and {} supports {}",
            release.version, release.kubernetes
        ),
        "choose a version that supports it: applink releases".to_owned(),
    ))
}

fn system_namespace(cluster: &Cluster, member: &MeshMember) -> Vec<Finding> {
    let mut findings = Vec::new();
    let object = format!("Namespace {SYSTEM_NAMESPACE}");
    let label = |key: &str| {
        cluster
            .system_labels
            .as_ref()
            .and_then(|labels| labels.get(key))
            .map(String::as_str)
    };
    if let Some(level) = label(POD_SECURITY_LABEL).filter(|level| *level != "privileged") {
        findings.push(Finding {
            code: Code::PodSecurity,
            severity: Severity::Block,
            object: object.clone(),
            message: format!("its Pod Security level {level} refuses the node proxy and the network agent"),
            remedy: format!("kubectl label --overwrite namespace {SYSTEM_NAMESPACE} {POD_SECURITY_LABEL}=privileged"),
        });
    }
    if label(DATAPLANE_MODE_LABEL) == Some(DATAPLANE_MODE_AMBIENT) {
        findings.push(Finding {
            code: Code::SystemNamespaceEnrolled,
            severity: Severity::Block,
            object,
            message: "the mesh cannot carry its own components, and the namespace is enrolled"
                .to_owned(),
            remedy: format!("kubectl label namespace {SYSTEM_NAMESPACE} {DATAPLANE_MODE_LABEL}-"),
        });
    }
    findings.extend(quota(cluster, member));
    findings
}

/// Pods that must fit beside what runs: two a node and the control plane.
fn quota(cluster: &Cluster, member: &MeshMember) -> Vec<Finding> {
    let present = cluster
        .daemon_sets
        .iter()
        .any(|set| set.is_ours && set.namespace == SYSTEM_NAMESPACE);
    if present {
        return Vec::new();
    }
    let nodes = cluster
        .nodes
        .iter()
        .filter(|node| is_supported(node))
        .count();
    let needed = i64::try_from(nodes).unwrap_or(i64::MAX / 4) * 2
        + i64::from(member.spec.effective_control_plane_replicas());
    cluster
        .quotas
        .iter()
        .filter(|quota| quota.hard.saturating_sub(quota.used) < needed)
        .map(|quota| Finding {
            code: Code::QuotaTooSmall,
            severity: Severity::Block,
            object: format!("ResourceQuota {SYSTEM_NAMESPACE}/{}", quota.name),
            message: format!(
                "it allows {} pods and counts {}; {needed} more are needed",
                quota.hard, quota.used
            ),
            remedy: "raise the quota or delete it".to_owned(),
        })
        .collect()
}

/// At most [`NAMED`] names, and how many more there are.
fn some_of(names: &[String]) -> String {
    match names.len() {
        count if count <= NAMED => names.join(", "),
        count => format!("{} and {} more", names[..NAMED].join(", "), count - NAMED),
    }
}

#[cfg(test)]
mod tests;
