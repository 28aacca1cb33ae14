//! The mesh on a real cluster: installed from one member, used, repaired, left.
//!
//! Needs root, and the release builds of `applink` and `shop`. All tests of a run share one cluster, so
//! they run one at a time; each brings about what it starts from, so their order does not matter,
//! but for the last two modules, which judge what the others made the operator do.
//!
//! Defects that other operators of meshes had to mend after their release, and the test here that would show each:
//!
//! | defect | shown by |
//! |---|---|
//! | a member's deletion disturbs another one | `input::a_second_member_for_the_same_cluster_...` |
//! | a deletion during the install collides with it | `images_missing::...`: deleted while an image is waited for; `upgrades::deleted::...`: while a node moves |
//! | a cascading deletion never completes | `settings::...`: the network goes while a member stands, then the member |
//! | an operation is stuck for ever | `nodes_lost::...` (install, leave); each stage's limit: `applink::leave`, its tests |
//! | a deletion loops because the cluster or a part of it is gone | `nodes_lost::a_leave_...`; "not found" is success: `applink::operator::apply`, its tests |
//! | retries on what only the user can fix | `images_missing::...`, `trust_lost::...`: Stalled at once; growing delays: `applink::operator::backoff`, its tests |
//! | a vague error where the reason is known | `images_missing::...` (image and node), `trust_lost::...` (Secret and fingerprint); refusals of the API server: `applink::operator::error`, its tests |
//! | no precondition is named at the join | `input`; `applink::preflight`, its tests |
//! | two owners fight for the Gateway API | `input_definitions::definitions_of_somebody_else_...`; which version wins: `applink::desired::crds`, its tests |
//! | leftovers after leaving | `leave::...`, `images_missing::...`, `nodes_lost::...` by `running::assert_nothing_left` |
//! | a lost or new authority takes the mesh down | `trust_lost::...`, `operator_lost::a_lost_namespace_...` |
//! | what was applied before is applied again, without a pin, and a minor upgrade comes of it | `versions::without_a_version_...`, `install::the_same_objects_...`; the operator's own manifests: `e2e::admission` |
//! | logs of the control plane are missing where support looks for them | `cli::a_support_bundle_...` |
//!
//! Not here: an update or upgrade that is refused for one way of authenticating, because a member is the cluster that the
//! operator runs in and there is one way, its `ServiceAccount` (another type of `spec.cluster` is refused by the API server:
//! `e2e::crd_rules`); and an east-west gateway without its network label, because there is none yet: `spec.eastWestGateway`
//! is refused as well.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod added;
mod api_away;
mod cli;
mod deaths;
mod definitions_lost;
mod fixture;
mod images_missing;
mod input;
mod input_cluster;
mod input_definitions;
mod input_fault;
mod input_nodes;
mod input_rights;
mod input_rows;
mod input_running;
mod input_versions;
mod input_windows;
mod install;
mod keys;
mod leave;
mod nodes_lost;
mod operator_lost;
mod running;
mod settings;
mod steady;
mod told;
mod traffic;
mod trust_lost;
mod upgrades;
mod versions;
mod zz_rights;
mod zz_secrets;
