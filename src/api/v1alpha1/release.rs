//! `MeshRelease`: one entry of the catalogue, as data.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::ReleaseChannel;

/// One release: the name is its version; adds an entry to the catalogue or replaces one whole.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "applink.dev",
    version = "v1alpha1",
    kind = "MeshRelease",
    plural = "meshreleases",
    singular = "meshrelease",
    shortname = "mr",
    category = "applink",
    status = "MeshReleaseStatus",
    derive = "Default",
    derive = "PartialEq",
    doc = "One release of the data plane: an entry of the catalogue.",
    printcolumn(name = "Istio", type_ = "string", json_path = ".spec.istioVersion"),
    printcolumn(name = "Channels", type_ = "string", json_path = ".spec.channels[*].name"),
    printcolumn(name = "Released", type_ = "string", json_path = ".spec.released"),
    printcolumn(name = "End of life", type_ = "string", json_path = ".spec.endOfLife"),
    printcolumn(name = "Withdrawn", type_ = "string", json_path = ".spec.withdrawn.reason"),
    printcolumn(name = "Accepted", type_ = "string", json_path = ".status.conditions[?(@.type==\"Accepted\")].status"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = (
        "size(self.metadata.name) <= 14 && self.metadata.name.matches('^(0|[1-9][0-9]{0,3})\\\\.(0|[1-9][0-9]{0,3})\\\\.(0|[1-9][0-9]{0,3})$')",
        "a release's name is its version: major.minor.patch, such as 1.6.1"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct MeshReleaseSpec {
    /// The Istio version it carries: `1.31.0`.
    #[schemars(
        length(max = 16),
        regex(pattern = "^(0|[1-9][0-9]{0,3})\\.(0|[1-9][0-9]{0,3})\\.(0|[1-9][0-9]{0,3})$")
    )]
    pub istio_version: String,
    /// The Kubernetes minors it supports.
    pub kubernetes: KubernetesRange,
    /// The Gateway API bundle it needs at least: `1.4.1`.
    #[serde(
        rename = "gatewayAPI",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(
        length(max = 16),
        regex(pattern = "^(0|[1-9][0-9]{0,3})\\.(0|[1-9][0-9]{0,3})\\.(0|[1-9][0-9]{0,3})$")
    )]
    pub gateway_api: Option<String>,
    /// The day it was released: `2026-08-31`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 10), regex(pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"))]
    pub released: Option<String>,
    /// The last day it is cared for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 10), regex(pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"))]
    pub end_of_life: Option<String>,
    /// The channels that list it, each from a moment on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 3))]
    pub channels: Vec<ChannelEntry>,
    /// Images by component: `pilot`, `install-cni`, `ztunnel`, `proxyv2`, `applink`; a component that is absent
    /// comes from where the embedded catalogue would take it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8))]
    pub images: BTreeMap<String, ReleaseImage>,
    /// Vulnerabilities it fixes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub fixes: Vec<ReleaseFix>,
    /// Set when nobody should take it any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<Withdrawn>,
}

/// Kubernetes minors, both ends included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KubernetesRange {
    /// The oldest: `1.32`.
    #[schemars(
        length(max = 9),
        regex(pattern = "^[1-9][0-9]{0,3}\\.(0|[1-9][0-9]{0,3})$")
    )]
    pub min: String,
    /// The newest: `1.36`.
    #[schemars(
        length(max = 9),
        regex(pattern = "^[1-9][0-9]{0,3}\\.(0|[1-9][0-9]{0,3})$")
    )]
    pub max: String,
}

/// A channel that lists a release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChannelEntry {
    /// Rapid, Stable or Extended.
    pub name: ReleaseChannel,
    /// From when on.
    pub since: Time,
}

/// Where an image is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.tag) || has(self.digest)", "an image needs a tag, a digest, or both"))]
pub struct ReleaseImage {
    /// Registry and path: `registry.istio.io/release/pilot`.
    #[schemars(
        length(min = 1, max = 255),
        regex(
            pattern = "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9]([a-z0-9._-]*[a-z0-9])?)*$"
        )
    )]
    pub repository: String,
    /// The tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 128),
        regex(pattern = "^[A-Za-z0-9_][A-Za-z0-9_.-]*$")
    )]
    pub tag: Option<String>,
    /// The digest: `sha256:` and 64 hexadecimal digits; it decides when both are given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 71), regex(pattern = "^sha256:[a-f0-9]{64}$"))]
    pub digest: Option<String>,
}

/// A vulnerability that a release fixes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseFix {
    /// Its identifier: `ISTIO-SECURITY-2026-006`, `CVE-2026-31837`.
    #[schemars(length(min = 1, max = 64))]
    pub id: String,
    /// The score of the worst of it, from 0 to 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10))]
    pub cvss: Option<f64>,
    /// The components it concerns, named as in images.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(min = 1, max = 32)))]
    pub components: Vec<String>,
}

/// Why nobody should take a release any more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Withdrawn {
    /// The reason, shown to every member that runs it.
    #[schemars(length(min = 1, max = 512))]
    pub reason: String,
}

/// What a release reports.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MeshReleaseStatus {
    /// The generation of the spec this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted: whether the catalogue takes the entry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
}
