//! Plans as text, from members and nodes as the API server would send them.

use serde_json::json;

use super::*;

const NOW: &str = "2026-11-21T09:00:00Z";

fn member(spec: serde_json::Value, status: serde_json::Value) -> MeshMember {
    serde_json::from_value(
        json!({"apiVersion": "applink.dev/v1alpha1", "kind": "MeshMember",
        "metadata": {"name": "edge"}, "spec": spec, "status": status}),
    )
    .unwrap()
}

fn seen(member: MeshMember) -> Seen {
    let node = |name: &str, os: &str, ready| Node {
        name: name.to_owned(),
        os: os.to_owned(),
        arch: "amd64".to_owned(),
        ready,
        ..Node::default()
    };
    Seen {
        members: vec![member],
        releases: Vec::new(),
        nodes: vec![
            node("a", "linux", true),
            node("b", "linux", false),
            node("c", "windows", true),
            node("d", "linux", true),
            node("e", "linux", true),
        ],
        kubernetes: "v1.33.4".to_owned(),
        ..Seen::default()
    }
}

fn text(seen: &Seen) -> String {
    let zones = TimeZoneDatabase::from_env();
    render(&outlooks(seen, &zones, NOW.parse().unwrap()).unwrap())
}

#[test]
fn a_move_is_told_with_its_hops_steps_nodes_and_waves() {
    let member = member(
        json!({"upgrade": {"mode": "FullyManaged", "releaseChannel": "Rapid"}}),
        json!({"version": {"current": "1.4.5"}}),
    );
    let expected = "\
MeshMember edge  follows Rapid
├─ runs              1.4.5
├─ next              the move to 1.4.7 (of what runs: it is affected by ISTIO-SECURITY-2026-005, ISTIO-SECURITY-2026-006, fixed in 1.4.7), 1 of 3 hops to 1.6.0 now
├─ when              2026-11-21T09:00:00Z
├─ hops              1.4.7, 1.5.4, 1.6.0
├─ fixes             ISTIO-SECURITY-2026-005, ISTIO-SECURITY-2026-006
├─ steps             Preflight, Prepull, CRDs, ControlPlane, Nodes, Verify, Finish, Waypoints, Retire
├─ nodes touched     3: a, d, e
├─ waves             1 a; 2 d; 3 e
├─ nodes left alone  2: b (NodeNotReady), c (not supported)
└─ note              NOT_SEEN
"
    .replace("NOT_SEEN", NOT_SEEN);
    assert_eq!(text(&seen(member)), expected);
}

#[test]
fn a_node_that_is_left_alone_is_told_with_what_it_lacks() {
    let spec = json!({"dataPlane": {"nodeSelector": {"pool": "mesh"}, "tolerations": []}});
    let mut seen = seen(member(spec, json!({"version": {"current": "1.4.5"}})));
    for node in &mut seen.nodes {
        node.labels.insert("pool".to_owned(), "mesh".to_owned());
    }
    seen.nodes[0].labels.clear();
    let taint = ("gpu", "yes", "NoSchedule");
    let taint = (taint.0.to_owned(), taint.1.to_owned(), taint.2.to_owned());
    seen.nodes[3].taints.push(taint.clone());
    seen.nodes[4].taints.push(taint);
    seen.nodes[4].deleting = true;
    let told = text(&seen);
    for expected in [
        "a (it lacks the label pool=mesh of spec.dataPlane.nodeSelector: label it)",
        "d (spec.dataPlane.tolerations has none for its taint gpu=yes:NoSchedule: add it, or remove the taint)",
        "b (NodeNotReady)",
        "c (not supported)",
        "e (NodeLeaving)",
    ] {
        assert!(told.contains(expected), "{expected} is not in\n{told}");
    }
}

#[test]
fn a_change_of_what_runs_on_nodes_is_told_with_the_steps_and_nodes_it_touches() {
    let spec =
        json!({"upgrade": {"version": "1.5"}, "dataPlane": {"ztunnel": {"logLevel": "Debug"}}});
    let before = member(json!({}), json!({}));
    let embedded = Catalogue::embedded();
    let images = decide::images(embedded.get(Version::new(1, 5, 4)).unwrap()).unwrap();
    let status = |settings: &str, images: &str| json!({"version": {"current": "1.5.4", "hash": "old", "settings": settings, "images": images}});
    let old = decide::settings(&before.spec).unwrap();
    let now = decide::settings(&member(spec.clone(), json!({})).spec).unwrap();
    let told = |status| text(&seen(member(spec.clone(), status)));

    let changed = told(status(&old, &images));
    for expected in [
        "next              the rollout of the changed per-node settings now\n",
        "steps             Preflight, Prepull, Nodes, Verify, Finish, Retire\n",
        "nodes touched     3: a, d, e\n",
        "waves             1 a; 2 d; 3 e\n",
    ] {
        assert!(
            changed.contains(expected),
            "{expected} is not in\n{changed}"
        );
    }
    let replaced = told(status(&now, "others"));
    assert!(
        replaced.contains(
            "next              the rollout of the changed images of its MeshRelease now\n"
        ),
        "{replaced}"
    );
    let failed = json!([{"version": "1.5.4", "hash": "bad", "reason": "gate Proxy on node a"}]);
    let mut tried = status(&old, &images);
    tried["failedReleases"] = failed;
    let tried = told(tried);
    assert!(tried.contains("nothing: 1.5.4 failed here"), "{tried}");
    for same in [
        status(&now, &images),
        json!({"version": {"current": "1.5.4"}}),
    ] {
        let same = told(same);
        assert!(same.contains("nothing: 1.5.4 runs"), "{same}");
    }
}

#[test]
fn a_rollout_that_stands_still_is_told_with_what_it_waits_for() {
    let status = json!({"version": {"current": "1.5.4"},
        "rollout": {"id": "1", "step": "Nodes", "to": "1.6.0", "halted": "gate Proxy on node a: not ready"}});
    let text = text(&seen(member(
        json!({"upgrade": {"version": "1.6"}}),
        status,
    )));
    assert!(
        text.contains("the rollout stands still: gate Proxy on node a: not ready; `applink retry`"),
        "{text}"
    );
}

#[test]
fn an_install_is_told_without_the_steps_of_a_move() {
    let member = member(json!({"upgrade": {"version": "1.6"}}), json!({}));
    let text = text(&seen(member));
    for expected in [
        "runs              nothing yet",
        "next              the move to 1.6.0 (first install) now",
        "steps             Preflight, CRDs, ControlPlane, Nodes, Verify\n",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
    assert!(!text.contains("waves"), "{text}");
}

#[test]
fn what_brought_a_member_where_it_is_tells_a_wish_from_a_move_of_the_channel() {
    let follows = |reached_by: &str| {
        let spec = json!({"upgrade": {"mode": "FullyManaged", "releaseChannel": "Rapid"}});
        let status = json!({"version": {"current": "1.5.4", "reachedBy": reached_by}});
        text(&seen(member(spec, status)))
    };
    assert!(follows("Rapid").contains("channel Rapid has moved"));
    assert!(follows("Stable").contains("the spec asks for Rapid"));
}

#[test]
fn a_canary_that_matches_no_node_is_told_before_anything_begins() {
    let canary = json!({"type": "Selector", "selector": {"matchLabels": {"ring": "one"}}});
    let member = member(
        json!({"upgrade": {"version": "1.6", "strategy": {"canary": canary}}}),
        json!({"version": {"current": "1.5.4"}}),
    );
    let text = text(&seen(member));
    assert!(text.contains("canary.selector matches no node"), "{text}");
}

#[test]
fn nothing_to_do_and_a_spec_that_is_not_accepted_touch_no_node() {
    let rests = member(json!({}), json!({"version": {"current": "1.5.4"}}));
    let refused = member(
        json!({"upgrade": {"version": "1.9"}}),
        json!({"version": {"current": "1.5.4"}}),
    );
    let table = [
        (rests, "nothing: 1.5.4 runs"),
        (
            refused,
            "nothing, the spec is not accepted: spec.upgrade.version 1.9 is in no catalogue",
        ),
    ];
    for (member, expected) in table {
        let text = text(&seen(member));
        assert!(text.contains(expected), "{expected} is not in\n{text}");
        assert!(!text.contains("nodes touched"), "{text}");
    }
}

#[test]
fn what_waits_says_until_when() {
    let window = json!([{"start": "22:00", "duration": "1h"}]);
    let member = member(
        json!({"upgrade": {"mode": "FullyManaged", "releaseChannel": "Rapid", "maintenanceWindows": window}}),
        json!({"version": {"current": "1.5.4"}}),
    );
    let text = text(&seen(member));
    assert!(
        text.contains(
            "when              2026-11-21T22:00:00Z\n├─ next window       2026-11-21T22:00:00Z\n"
        ),
        "{text}"
    );
}

#[test]
fn a_server_that_tells_no_version_is_a_failure_with_a_remedy() {
    let mut seen = seen(member(json!({}), json!({})));
    seen.kubernetes = "unknown".to_owned();
    let zones = TimeZoneDatabase::from_env();
    let failure = outlooks(&seen, &zones, NOW.parse().unwrap()).unwrap_err();
    assert!(
        failure
            .reason
            .contains("\"unknown\" is no Kubernetes version")
    );
}
