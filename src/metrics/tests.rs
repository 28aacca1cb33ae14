//! What is counted and shown, as it is read by others.

use super::*;

#[test]
fn what_happened_can_be_read() {
    let metrics = Metrics::default();
    let answer = |good, counted| Heard::Answer { good, counted };
    metrics.pass(0.02, Some(Reason::MissingRights));
    metrics.show(&Gauges {
        members: 2,
        ready: 1,
        steps: vec![
            (Step::Nodes, Some(Reason::WaitingForNodes)),
            (Step::Crds, None),
        ],
        nodes: [4, 3, 2, 1],
        pods: [9, 8],
        rollouts: vec![(7, true), (5, false), (6, false)],
        behind: vec![Reason::PreflightFailed, Reason::PreflightFailed],
        ends_of_life: vec![9, 8],
        certificates: vec![("root", 7)],
        compared: vec![[0.5, 0.5], [0.0, 0.25]],
        answers: vec![
            ("Pods", answer(true, Some([7, 0]))),
            ("Pods", answer(false, Some([2, 3]))),
            ("Pods", Heard::Nothing),
            ("Room", answer(true, None)),
        ],
        unproved: 1,
        ..Gauges::default()
    });
    metrics.gate_failed("Probe".to_owned());
    metrics.act("apply");
    metrics.answer(true);
    metrics.answer(false);
    metrics.rollout("RolledBack");
    metrics.leads(true);
    let text = metrics.text();
    for line in [
        "applink_reconcile_total{result=\"failed\"} 1",
        "applink_reconcile_duration_seconds_count 1",
        "applink_reconcile_failures_total{reason=\"MissingRights\"} 1",
        "applink_members 2",
        "applink_members_ready 1",
        "applink_member_step{step=\"Nodes\"} 1",
        "applink_member_step{step=\"CRDs\"} 1",
        "applink_member_waiting{reason=\"WaitingForNodes\"} 1",
        "applink_nodes{what=\"total\"} 4",
        "applink_nodes{what=\"updated\"} 3",
        "applink_nodes{what=\"set_aside\"} 2",
        "applink_nodes{what=\"unsupported\"} 1",
        "applink_pods{what=\"enrolled\"} 9",
        "applink_pods{what=\"meshed\"} 8",
        "applink_rollouts_active 1",
        "applink_rollouts_held_up 2",
        "applink_rollout_started_seconds 5.0",
        "applink_members_behind{reason=\"PreflightFailed\"} 2",
        "applink_release_end_of_life_seconds 8.0",
        "applink_writes_total{what=\"apply\"} 1",
        "applink_component_answers_total{result=\"good\"} 1",
        "applink_component_answers_total{result=\"not_good\"} 1",
        "applink_rollouts_total{result=\"RolledBack\"} 1",
        "applink_rollouts_total{result=\"Succeeded\"} 0",
        "applink_leading 1",
        "applink_rollout_failed_connections_ratio{what=\"before\"} 0.0",
        "applink_rollout_failed_connections_ratio{what=\"since\"} 0.25",
        "applink_certificate_not_after_seconds{what=\"root\"} 7.0",
        "applink_gate_answers{gate=\"Pods\",result=\"good\"} 1",
        "applink_gate_answers{gate=\"Pods\",result=\"bad\"} 1",
        "applink_gate_answers{gate=\"Pods\",result=\"none\"} 1",
        "applink_gate_counted{gate=\"Pods\",result=\"good\"} 9",
        "applink_gate_counted{gate=\"Pods\",result=\"bad\"} 3",
        "applink_gate_answers{gate=\"Room\",result=\"good\"} 1",
        "applink_gate_failures_total{gate=\"Probe\"} 1",
        "applink_nodes_unproved 1",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    metrics.show(&Gauges {
        watched_until: Some(9),
        ..Gauges::default()
    });
    let watched = "applink_rollout_watched_until_seconds 9.0";
    assert!(metrics.text().contains(watched));
    metrics.show(&Gauges::default());
    assert!(!metrics.text().contains(watched));
    for gone in [
        "member_step{",
        "member_waiting{",
        "gate_answers{",
        "gate_counted{",
        "members_behind{",
    ] {
        assert!(!metrics.text().contains(gone), "{gone}");
    }
}
