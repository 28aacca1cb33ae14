//! What is counted and shown, as it is read by others.

use super::*;

#[test]
fn what_happened_can_be_read() {
    let metrics = Metrics::default();
    let answer = |good, counted| Heard::Answer { good, counted };
    metrics.pass(0.02, Some(Reason::MissingRights));
    metrics.show(&Gauges {
        members: 2,
        steps: vec![(Step::Nodes, Some(Reason::Nodes))],
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
    let text = metrics.text();
    for line in [
        "applink_reconcile_total{result=\"failed\"} 1",
        "applink_reconcile_failures_total{reason=\"MissingRights\"} 1",
        "applink_members 2",
        "applink_member_step{step=\"Nodes\"} 1",
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
    assert!(!metrics.text().contains("step=\"Nodes\""));
    assert!(!metrics.text().contains("gate_answers{"));
}
