//! When and how a member moves from one version to the next.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Selector;

/// Who chooses the version, and when it may change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = (
        "!has(self.releaseChannel) || (has(self.mode) && self.mode == 'FullyManaged')",
        "upgrade.releaseChannel needs upgrade.mode FullyManaged; a SelfManaged member pins upgrade.version"
    ),
    validation = (
        "!has(self.version) || !has(self.mode) || self.mode == 'SelfManaged'",
        "upgrade.version needs upgrade.mode SelfManaged; a FullyManaged member follows upgrade.releaseChannel"
    )
)]
pub struct Upgrade {
    /// SelfManaged (the effective default): the owner pins a version. FullyManaged: the member follows a channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<UpgradeMode>,
    /// Rapid (newest), Stable (proven; the effective default) or Extended (oldest supported); FullyManaged only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_channel: Option<ReleaseChannel>,
    /// A minor such as `1.5`, whose patches follow by themselves, or an exact version such as `1.5.2`, which never
    /// moves; SelfManaged only. Absent: the minor before the newest at first install, afterwards the running one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 16),
        regex(pattern = "^(0|[1-9][0-9]{0,3})\\.(0|[1-9][0-9]{0,3})(\\.(0|[1-9][0-9]{0,3}))?$")
    )]
    pub version: Option<String>,
    /// When automatic work may start; absent means always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    pub maintenance_windows: Option<Vec<MaintenanceWindow>>,
    /// Times in which no automatic work, or no automatic minor upgrade, starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub exclusions: Option<Vec<Exclusion>>,
    /// True: a move that fixes a listed vulnerability goes through exclusions, not through windows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_security_fixes: Option<bool>,
    /// What happens when the window closes. FinishWave (the effective default): the nodes that have begun are finished, no
    /// other begins. FinishRollout: it goes on. PauseNow: nodes that have begun stop where they may stay, before their
    /// network agent or their proxy is replaced; beside two proxies they are finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_window_close: Option<OnWindowClose>,
    /// How nodes are moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// True: stop at the next safe point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
}

/// Who chooses the version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "described on the field; docs on variants would change the schema"
)]
pub enum UpgradeMode {
    #[default]
    SelfManaged,
    FullyManaged,
}

/// A release channel.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[expect(
    missing_docs,
    reason = "described on the field; docs on variants would change the schema"
)]
pub enum ReleaseChannel {
    Rapid,
    #[default]
    Stable,
    Extended,
}

impl ReleaseChannel {
    /// Every channel, newest first.
    pub const ALL: [Self; 3] = [Self::Rapid, Self::Stable, Self::Extended];

    /// The channel's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rapid => "Rapid",
            Self::Stable => "Stable",
            Self::Extended => "Extended",
        }
    }
}

impl UpgradeMode {
    /// The mode's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SelfManaged => "SelfManaged",
            Self::FullyManaged => "FullyManaged",
        }
    }
}

/// One recurring time in which automatic work may start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = (
        "duration(self.duration) >= duration('1m')",
        "a maintenance window shorter than a minute lets nothing start"
    ),
    validation = (
        "duration(self.duration) <= duration('168h')",
        "a maintenance window longer than a week never closes: leave maintenanceWindows out to be always open"
    )
)]
pub struct MaintenanceWindow {
    /// The days on which the window opens; absent means every day.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 7))]
    pub days: Vec<Day>,
    /// Local time at which it opens: `22:30`; where the clock jumps over it, it opens with the jump.
    #[schemars(length(max = 5), regex(pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$"))]
    pub start: String,
    /// How long it stays open, in elapsed time: `4h`, `90m`; from a minute to a week.
    #[schemars(length(max = 16), regex(pattern = "^([0-9]{1,5}(h|m|s)){1,3}$"))]
    pub duration: String,
    /// An IANA zone such as `Europe/Berlin`; absent means UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[A-Za-z0-9_+/-]+$"))]
    pub time_zone: Option<String>,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "described on the field; docs on variants would change the schema"
)]
pub enum Day {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

/// A time in which upgrades do not start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("self.from < self.to", "an exclusion's from must be before its to"))]
pub struct Exclusion {
    /// What it is for; shown in status while it holds.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The first moment.
    pub from: Time,
    /// The moment after the last.
    pub to: Time,
    /// NoUpgrades (the effective default) or NoMinorUpgrades.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<ExclusionScope>,
}

/// What an exclusion holds back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "described on the field; docs on variants would change the schema"
)]
pub enum ExclusionScope {
    #[default]
    NoUpgrades,
    NoMinorUpgrades,
}

/// What happens when a window closes during a rollout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "described on the field; docs on variants would change the schema"
)]
pub enum OnWindowClose {
    #[default]
    FinishWave,
    FinishRollout,
    PauseNow,
}

/// How nodes are moved.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Strategy {
    /// The first nodes; the effective default is one node, watched for 5 minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    /// The waves after it; the effective default is 10 % of the nodes, watched for 1 minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<Batch>,
    /// How long connections may finish on the proxy that leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    /// What a node must prove.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gates: Option<Gates>,
    /// How many nodes may be set aside because they do not answer: a number or a percentage, which rounds up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "count_or_percent")]
    pub max_unreachable: Option<IntOrString>,
    /// Skip (the effective default): a node without room is set aside. Preempt: lower priorities make room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_full_node: Option<OnFullNode>,
    /// What happens when a gate fails. Rollback (the effective default): the moved nodes go back, and the release is not
    /// tried again by itself. Pause: nothing begins and nothing goes back before somebody says `applink retry` or `applink
    /// abort`, or changes the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
}

/// The first nodes that are moved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("self.type == 'Count' ? has(self.count) : !has(self.count)", "count is required for type Count, and only there"),
    validation = ("self.type == 'Selector' ? has(self.selector) : !has(self.selector)", "selector is required for type Selector, and only there")
)]
pub struct Canary {
    /// Count or Selector.
    #[serde(rename = "type")]
    pub kind: CanaryType,
    /// How many nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub count: Option<i32>,
    /// Which nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
    /// How long they are watched, once the drain timeout of the proxy before is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), regex(pattern = "^([0-9]{1,5}(h|m|s)){1,3}$"))]
    pub soak: Option<String>,
}

/// How the canary is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "described on the field; docs on variants would change the schema"
)]
pub enum CanaryType {
    #[default]
    Count,
    Selector,
}

/// The waves after the canary.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Batch {
    /// How many nodes move at a time: a number or a percentage, which rounds up to at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "count_or_percent")]
    pub size: Option<IntOrString>,
    /// How long each wave is watched, once the drain timeout of the proxies before is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), regex(pattern = "^([0-9]{1,5}(h|m|s)){1,3}$"))]
    pub soak: Option<String>,
}

/// How long connections may finish.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// The effective default is 60 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), regex(pattern = "^([0-9]{1,5}(h|m|s)){1,3}$"))]
    pub timeout: Option<String>,
}

/// What a node must prove before the next one moves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gates {
    /// How long a gate may take; the effective default is 5 m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), regex(pattern = "^([0-9]{1,5}(h|m|s)){1,3}$"))]
    pub timeout: Option<String>,
    /// How many percentage points more of a node's connections may fail than before it moved, with one decimal at most; the
    /// effective default is 1%. 100% lets everything fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 5), regex(pattern = r"^(100|[1-9]?[0-9](\.[0-9])?)%$"))]
    pub max_failure_increase: Option<String>,
}

/// What happens on a node without room for a second proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "described on the field; docs on variants would change the schema"
)]
pub enum OnFullNode {
    #[default]
    Skip,
    Preempt,
}

/// What happens when a gate fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "described on the field; docs on variants would change the schema"
)]
pub enum OnFailure {
    #[default]
    Rollback,
    Pause,
}

/// A whole number from 1 to 5000, or a percentage from 1 % to 100 %.
pub(super) fn count_or_percent(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "x-kubernetes-int-or-string": true,
        "minimum": 1,
        "maximum": 5000,
        "maxLength": 4,
        "pattern": "^([1-9]|[1-9][0-9]|100)%$",
    })
}
