//! `ApplicationNetwork`: what the members of one network share.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SecretRef, Selector};

/// What the members of one network share: trust, mutual TLS, and the order in which changes reach them.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "applink.dev",
    version = "v1alpha1",
    kind = "ApplicationNetwork",
    plural = "applicationnetworks",
    singular = "applicationnetwork",
    shortname = "appnet",
    category = "applink",
    status = "ApplicationNetworkStatus",
    derive = "Default",
    derive = "PartialEq",
    doc = "What the members of one network share.",
    printcolumn(name = "Members", type_ = "integer", json_path = ".status.members.total"),
    printcolumn(name = "Ready", type_ = "integer", json_path = ".status.members.ready"),
    printcolumn(name = "UpToDate", type_ = "integer", json_path = ".status.members.upToDate"),
    printcolumn(name = "mTLS", type_ = "string", json_path = ".spec.mtls"),
    printcolumn(name = "Root until", type_ = "string", json_path = ".status.rootCertificate.notAfter"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = (
        "size(self.metadata.name) <= 63 && self.metadata.name.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')",
        "a network's name is at most 63 lower case letters, digits and hyphens"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = (
        "has(self.trustDomain) == has(oldSelf.trustDomain) && (!has(self.trustDomain) || self.trustDomain == oldSelf.trustDomain)",
        "trustDomain is immutable: every identity in the network contains it"
    ),
    validation = ("!has(self.rollout)", "rollout is not available yet in this version of applink")
)]
pub struct ApplicationNetworkSpec {
    /// The first part of every identity; the effective default is `cluster.local`. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")
    )]
    pub trust_domain: Option<String>,
    /// Where certificates come from; the effective default is Managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_authority: Option<CertificateAuthority>,
    /// Permissive (the effective default): plain text is accepted. Strict: a mesh-wide PeerAuthentication refuses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtls: Option<Mtls>,
    /// The order in which changes reach the members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<NetworkRollout>,
}

/// Where certificates come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = (
        "self.type == 'Secret' ? has(self.secret) : !has(self.secret)",
        "secret is required for type Secret, and only there"
    ),
    validation = (
        "self.type != 'Secret'",
        "certificateAuthority.type Secret is not available yet in this version of applink; use Managed"
    )
)]
pub struct CertificateAuthority {
    /// Managed: an own root and a chained intermediate for each member. Secret: a root that you bring.
    #[serde(rename = "type")]
    pub kind: CertificateAuthorityType,
    /// The Secret with certificate and key; only for type Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretRef>,
}

/// Where certificates come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "described on the field; docs on variants would change the schema"
)]
pub enum CertificateAuthorityType {
    #[default]
    Managed,
    Secret,
}

/// Whether plain text is accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "described on the field; docs on variants would change the schema"
)]
pub enum Mtls {
    #[default]
    Permissive,
    Strict,
}

/// The order in which changes reach the members.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkRollout {
    /// One after the other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub stages: Vec<RolloutStage>,
}

/// Members that change together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStage {
    /// The stage's name.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Which members belong to it, by their labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_selector: Option<Selector>,
    /// How long the stage is watched before the next one starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), regex(pattern = "^([0-9]{1,5}(h|m|s)){1,3}$"))]
    pub soak: Option<String>,
    /// Automatic (the effective default) or Required: whether somebody must approve the stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// How many members change at a time: a number or a percentage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::upgrade::count_or_percent")]
    pub max_concurrency: Option<IntOrString>,
    /// How many members may fail before the network stops.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub max_failures: Option<i32>,
}

/// Whether somebody must approve a stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "described on the field; docs on variants would change the schema"
)]
pub enum Approval {
    #[default]
    Automatic,
    Required,
}

/// What a network reports.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApplicationNetworkStatus {
    /// The generation of the spec this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted and Ready; Reconciling and Stalled while they hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// How many members there are, and how they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<MemberCounts>,
    /// The root every member's certificates chain to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_certificate: Option<RootCertificate>,
}

/// Members, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberCounts {
    /// All members.
    pub total: i32,
    /// Members whose mesh serves.
    pub ready: i32,
    /// Members that run what was asked for.
    pub up_to_date: i32,
}

/// The root of a network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RootCertificate {
    /// SHA-256 of its DER form, in lower case hexadecimal.
    pub fingerprint: String,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Time>,
}
