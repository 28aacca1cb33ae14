//! What a node proxy must do, each a function of the whole mesh. The last ones end pods and proxies.

mod control;
mod ending;
mod names;
mod policies;
mod traffic;
mod tunnels;

use crate::mesh::Family::{V4, V6};
use crate::mesh::Mesh;

/// A name and what it does.
pub type Scenario = (&'static str, fn(&mut Mesh));

/// All, in the order they run.
pub const ALL: &[Scenario] = &[
    (
        "a_captured_pod_reaches_one_on_another_node_in_a_tunnel",
        |mesh| traffic::cross_node(mesh, V4),
    ),
    (
        "a_captured_pod_reaches_one_on_its_own_node_in_a_tunnel",
        traffic::same_node,
    ),
    (
        "a_captured_pod_reaches_one_outside_the_mesh_in_plain_text",
        |mesh| traffic::to_uncaptured(mesh, V4),
    ),
    ("a_pod_outside_the_mesh_reaches_a_captured_one", |mesh| {
        traffic::from_uncaptured(mesh, V4);
    }),
    ("a_service_is_spread_over_its_endpoints", |mesh| {
        traffic::service(mesh, V4);
    }),
    (
        "a_server_s_close_and_a_refused_port_reach_the_client",
        traffic::refused,
    ),
    (
        "connections_are_counted_with_their_labels",
        traffic::metrics,
    ),
    (
        "the_source_of_a_connection_is_kept_in_the_access_log",
        traffic::access_log,
    ),
    (
        "over_ipv6_a_captured_pod_reaches_one_on_another_node_in_a_tunnel",
        |mesh| traffic::cross_node(mesh, V6),
    ),
    (
        "over_ipv6_a_captured_pod_reaches_one_outside_the_mesh_in_plain_text",
        |mesh| traffic::to_uncaptured(mesh, V6),
    ),
    (
        "over_ipv6_a_pod_outside_the_mesh_reaches_a_captured_one",
        |mesh| traffic::from_uncaptured(mesh, V6),
    ),
    ("over_ipv6_a_service_is_spread_over_its_endpoints", |mesh| {
        traffic::service(mesh, V6);
    }),
    ("an_allow_policy_lets_only_the_named_in", policies::allow),
    ("a_deny_policy_ends_live_connections", policies::live),
    (
        "strict_refuses_plain_text_and_nothing_else",
        policies::strict,
    ),
    (
        "a_broken_request_in_a_tunnel_is_refused_by_its_status",
        |mesh| tunnels::refused(mesh, V4),
    ),
    (
        "over_ipv6_a_broken_request_in_a_tunnel_is_refused_by_its_status",
        |mesh| tunnels::refused(mesh, V6),
    ),
    (
        "a_foreign_trust_domain_does_not_get_a_tunnel",
        tunnels::foreign,
    ),
    ("calls_to_the_proxy_s_own_ports_do_not_loop", tunnels::loops),
    (
        "names_are_answered_inside_the_pod_and_others_forwarded",
        |mesh| names::capture(mesh, V4),
    ),
    (
        "over_ipv6_names_are_answered_inside_the_pod_and_others_forwarded",
        |mesh| names::capture(mesh, V6),
    ),
    (
        "certificates_are_fetched_ahead_and_forgotten",
        control::certificates,
    ),
    ("the_config_dump_shows_what_istioctl_reads", control::dump),
    ("the_log_level_changes_while_running", control::logging),
    ("a_new_pod_is_served_at_once", control::new_pod),
    (
        "readiness_follows_the_node_agent_and_connections_outlive_it",
        ending::agent_away,
    ),
    (
        "a_pod_missing_from_the_snapshot_is_drained",
        ending::reconciled,
    ),
    ("a_deleted_pod_ends_at_once", ending::deleted),
    (
        "a_stopped_proxy_drains_until_the_deadline_and_the_next_takes_over",
        ending::shutdown,
    ),
];
