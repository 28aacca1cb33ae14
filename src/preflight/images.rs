//! Checks of where images come from.

use super::cluster::Cluster;
use super::finding::{Code, Finding, Severity};
use crate::api::v1alpha1::MeshMember;
use crate::names::OPERATOR_NAMESPACE;

/// Every pull secret that the spec names is there and holds credentials.
pub(super) fn check(cluster: &Cluster, member: &MeshMember) -> Vec<Finding> {
    member
        .spec
        .images
        .iter()
        .flat_map(|images| &images.pull_secrets)
        .filter_map(|secret| {
            let name = &secret.name;
            let message = match cluster.pull_secrets.get(name) {
                Some(None) => return None,
                Some(Some(defect)) => defect.clone(),
                None => "it is named in spec.images.pullSecrets and is not there, or holds no registry credentials".to_owned(),
            };
            Some(Finding {
                code: Code::PullSecretMissing,
                severity: Severity::Block,
                object: format!("Secret {OPERATOR_NAMESPACE}/{name}"),
                message,
                remedy: format!(
                    "create it: kubectl -n {OPERATOR_NAMESPACE} create secret docker-registry {name} --docker-server=... --docker-username=... --docker-password=..."
                ),
            })
        })
        .collect()
}
