//! A short-lived DaemonSet that pulls the images of a revision on every node, before anything there is touched.
//!
//! Its containers print a version and end; the kubelet starts them again, ever more rarely, until the DaemonSet goes.
//! Whether an image was pulled is told by the image id in the pod's status, not by how the container ended.

use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec};
use k8s_openapi::api::core::v1::{
    Container, PodSpec, PodTemplateSpec, ResourceRequirements, SecurityContext,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::manifest::{Error, Manifest};
use super::meta::{self, Component};
use super::{affinity, pod};
use crate::blueprint::{Blueprint, Revision};
use crate::names;

/// Who these containers run as: nobody.
const USER: i64 = 65534;

/// The DaemonSet of a revision.
///
/// # Errors
/// [`Error`] when it does not serialise.
pub(super) fn daemon_set(blueprint: &Blueprint, revision: &Revision) -> Result<Manifest, Error> {
    let labels = [
        ("app", names::PREPULL),
        (names::REVISION_LABEL, revision.as_str()),
    ];
    let mut of_pods = meta::texts([
        (names::MANAGED_BY_LABEL, names::MANAGED_BY),
        (names::MEMBER_LABEL, &blueprint.owner.name),
        ("sidecar.istio.io/inject", "false"),
        (names::DATAPLANE_MODE_LABEL, names::DATAPLANE_MODE_NONE),
    ]);
    of_pods.extend(meta::texts(labels));
    let name = format!("{}-{revision}", names::PREPULL);
    Manifest::of(&DaemonSet {
        metadata: meta::with_labels(
            meta::namespaced(blueprint, Component::Prepull, name),
            labels,
        ),
        spec: Some(DaemonSetSpec {
            selector: LabelSelector {
                match_labels: Some(meta::texts(labels)),
                ..LabelSelector::default()
            },
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(of_pods),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod_spec(blueprint)),
            },
            ..DaemonSetSpec::default()
        }),
        status: None,
    })
}

/// Without a priority of its own: nobody is evicted for it.
fn pod_spec(blueprint: &Blueprint) -> PodSpec {
    PodSpec {
        affinity: Some(affinity::of_agent(blueprint)),
        automount_service_account_token: Some(false),
        containers: vec![
            // Ours and upstream's know the word.
            puller("proxy", &blueprint.images.ztunnel, None, "version"),
            puller(
                "agent",
                &blueprint.images.cni,
                Some("install-cni"),
                "--help",
            ),
        ],
        enable_service_links: Some(false),
        image_pull_secrets: pod::pull_secrets(blueprint),
        node_selector: Some(meta::texts([("kubernetes.io/os", "linux")])),
        termination_grace_period_seconds: Some(1),
        tolerations: Some(blueprint.tolerations.clone()),
        ..PodSpec::default()
    }
}

/// A container that ends at once: the word is one that the image certainly knows.
fn puller(name: &str, image: &impl ToString, command: Option<&str>, argument: &str) -> Container {
    let amounts = |cpu: &str, memory: &str| {
        Some(
            [("cpu", cpu), ("memory", memory)]
                .map(|(key, value)| (key.to_owned(), Quantity(value.to_owned())))
                .into(),
        )
    };
    Container {
        args: Some(vec![argument.to_owned()]),
        command: command.map(|command| vec![command.to_owned()]),
        resources: Some(ResourceRequirements {
            limits: amounts("100m", "128Mi"),
            requests: amounts("1m", "1Mi"),
            ..ResourceRequirements::default()
        }),
        security_context: Some(SecurityContext {
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            ..pod::unprivileged()
        }),
        ..pod::container(name, image)
    }
}
