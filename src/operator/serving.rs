//! What signals say of one node together: whether its proxy serves every enrolled pod, and whether none waits for its
//! sandbox.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

use super::signals::{Placed, Signals};
use super::signing::Mesh;
use crate::facts::{Evidence, Mode, NamespaceFact, PodMeta, Tally};
use crate::names;

/// How long a proxy may take for the full list after a new connection.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it is asked meanwhile.
const BEAT: Duration = Duration::from_millis(200);
/// After how long a proxy is compared once more, where a pod was on its way into the mesh: long enough for the network agent to
/// note that it has captured it.
const SECOND_LOOK: Duration = Duration::from_secs(1);
/// Most names in one sentence.
const MOST: usize = 3;

/// Whether a proxy serves every enrolled pod of its node. One that has just been told to take a new connection needs a
/// moment for the full list. For any other a pod that is on its way is waited for: it may have been announced to a proxy that
/// has gone since.
pub async fn serves(
    signals: &dyn Signals,
    node: &str,
    pod: &str,
    reconnect: bool,
    mesh: &Mesh,
    namespace: impl Fn(&str) -> Option<Arc<NamespaceFact>>,
) -> Result<Evidence, String> {
    if reconnect {
        signals.reconnect(pod).await?;
    }
    let patience = if reconnect { PATIENCE } else { Duration::ZERO };
    let deadline = tokio::time::Instant::now() + patience;
    let mut looks_again = !reconnect;
    loop {
        // Who is on the node first: whoever is served by then was there.
        let on_node = signals.on_node(node).await?;
        let served = signals.served(pod).await?;
        let now = jiff::Timestamp::now();
        let mut evidence = compare(&served, &on_node, &namespace, now);
        if evidence.good && looks_again && is_on_its_way(&served, &on_node, &namespace, now) {
            looks_again = false;
            tokio::time::sleep(SECOND_LOOK).await;
            continue;
        }
        if evidence.good {
            let without = signals.uncertified(pod, mesh).await?;
            if !without.is_empty() {
                let (count, first) = sample(without);
                let text = format!(
                    "{}, but has no certificate of the mesh for {count} identities: {first}",
                    evidence.text
                );
                evidence = Evidence {
                    good: false,
                    text,
                    ..evidence
                };
            }
        }
        if evidence.good || tokio::time::Instant::now() >= deadline {
            return Ok(evidence);
        }
        tokio::time::sleep(BEAT).await;
    }
}

/// Whether no pod of the mesh is on a node: neither one that is enrolled nor one whose traffic is still redirected.
pub async fn vacant(
    signals: &dyn Signals,
    node: &str,
    namespace: impl Fn(&str) -> Option<Arc<NamespaceFact>>,
) -> Result<Evidence, String> {
    let on_node = signals.on_node(node).await?;
    Ok(unmeshed(&on_node, namespace))
}

fn unmeshed(
    on_node: &[Placed],
    namespace: impl Fn(&str) -> Option<Arc<NamespaceFact>>,
) -> Evidence {
    let meshed: Vec<String> = on_node
        .iter()
        // Who is ending still talks by way of the proxy.
        .filter(|((space, _), pod)| {
            pod.redirected || !pod.deleting && pod.is_enrolled(space, namespace(space).as_deref())
        })
        .map(|((space, name), _)| format!("{space}/{name}"))
        .collect();
    if meshed.is_empty() {
        return Evidence {
            good: true,
            text: "no enrolled pod is there".to_owned(),
            ..Evidence::default()
        };
    }
    let (count, first) = sample(meshed);
    Evidence {
        good: false,
        text: match count {
            1 => format!("an enrolled pod is there: {first}"),
            _ => format!("{count} enrolled pods are there: {first}"),
        },
        ..Evidence::default()
    }
}

/// Compares what a proxy serves with what is enrolled on its node: neither may a pod be missing, nor one be served that is
/// there, has left the mesh, and was let go of by the agent. Who is not on the node any more harms nobody, and is passed
/// over: a pod that has just ended is still listed for a moment. A new connection brings the full list, which mends both.
pub fn compare<'a>(
    served: &BTreeSet<String>,
    on_node: impl IntoIterator<Item = &'a Placed>,
    namespace: impl Fn(&str) -> Option<Arc<NamespaceFact>>,
    now: jiff::Timestamp,
) -> Evidence {
    let mut expected = 0_usize;
    let (mut missing, mut surplus) = (Vec::new(), Vec::new());
    for ((space, name), pod) in on_node {
        // Nobody's but the operator's own, so it counts only where it is missing: through a proxy that does not know it the
        // probe would fail for ever.
        if is_of_the_probe(space, pod) {
            if pod.redirected && !pod.deleting && !served.contains(&pod.uid) {
                expected += 1;
                missing.push(format!("{space}/{name}"));
            }
            continue;
        }
        if !pod.is_enrolled(space, namespace(space).as_deref()) {
            if served.contains(&pod.uid) && !pod.redirected && pod.is_settled(now) {
                surplus.push(format!("{space}/{name}"));
            }
            continue;
        }
        if served.contains(&pod.uid) {
            expected += 1;
        } else if pod.redirected || pod.is_settled(now) {
            expected += 1;
            if !pod.deleting {
                missing.push(format!("{space}/{name}"));
            }
        }
    }
    let lost = missing.len();
    let tally = Tally::of(expected - lost, expected);
    let text = match (missing.is_empty(), surplus.is_empty()) {
        (true, true) => format!("serves all {expected} enrolled pods"),
        (false, _) => {
            let (_, first) = sample(missing);
            format!(
                "serves {} of {expected} enrolled pods, not {first}",
                tally.good
            )
        }
        (true, false) => {
            let (count, first) = sample(surplus.clone());
            format!("serves {count} pods that have left the mesh: {first}")
        }
    };
    Evidence {
        good: lost == 0 && surplus.is_empty(),
        text,
        tally: Some(tally),
        ..Evidence::default()
    }
}

/// Its namespace is enrolled by our manifests, and counts nowhere else.
fn is_of_the_probe(space: &str, pod: &PodMeta) -> bool {
    space == names::PROBE_NAMESPACE && pod.mode != Mode::Out
}

/// A pod that should be served has just come, and nobody has said yet that it is captured.
fn is_on_its_way(
    served: &BTreeSet<String>,
    on_node: &[Placed],
    namespace: impl Fn(&str) -> Option<Arc<NamespaceFact>>,
    now: jiff::Timestamp,
) -> bool {
    on_node.iter().any(|((space, _), pod)| {
        let is_wanted =
            is_of_the_probe(space, pod) || pod.is_enrolled(space, namespace(space).as_deref());
        let is_young = !pod.deleting && !pod.is_settled(now);
        is_wanted && is_young && !pod.redirected && !served.contains(&pod.uid)
    })
}

/// A pod that is not ending still needs the network agent for its sandbox. The kubelet says that there is a sandbox a
/// second or two after it was made; the agent notes on a pod of the mesh at once that it has captured it.
pub fn waits(pod: &Pod) -> bool {
    let has_sandbox = (pod.status.iter())
        .flat_map(|status| status.conditions.iter().flatten())
        .any(|one| one.type_ == "PodReadyToStartContainers" && one.status == "True");
    let is_captured = (pod.metadata.annotations.as_ref())
        .and_then(|all| all.get(names::REDIRECTION_ANNOTATION))
        .is_some_and(|value| value == names::REDIRECTION_ENABLED);
    pod.metadata.deletion_timestamp.is_none() && !has_sandbox && !is_captured
}

pub fn name(pod: &Pod) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    format!(
        "{}/{}",
        text(&pod.metadata.namespace),
        text(&pod.metadata.name)
    )
}

/// Whether no pod of a node waits for its sandbox, seen twice: the scheduler may have chosen the node for one a moment
/// before it saw the taint. Nothing new is placed there meanwhile, so the answer is waited for rather than asked for anew.
pub async fn sandboxes(signals: &dyn Signals, node: &str) -> Result<Evidence, String> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut empty = 0;
    loop {
        let waiting = signals.without_sandbox(node).await?;
        if waiting.is_empty() {
            empty += 1;
        } else {
            empty = 0;
        }
        if empty == 2 {
            return Ok(Evidence {
                good: true,
                text: "no pod waits for its sandbox".to_owned(),
                ..Evidence::default()
            });
        }
        if !waiting.is_empty() && tokio::time::Instant::now() >= deadline {
            let (count, first) = sample(waiting);
            return Ok(Evidence {
                good: false,
                text: format!("{count} pods wait for their sandbox: {first}"),
                ..Evidence::default()
            });
        }
        tokio::time::sleep(BEAT * 2).await;
    }
}

/// How many there are, and the first of them by name.
fn sample(mut names: Vec<String>) -> (usize, String) {
    let count = names.len();
    names.sort();
    names.truncate(MOST);
    (count, names.join(", "))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_node_is_vacant_when_nobody_on_it_needs_a_proxy() {
        let pod = |name: &str, mode, redirected, deleting| {
            let meta = PodMeta {
                uid: name.to_owned(),
                mode,
                redirected,
                deleting,
                ..PodMeta::default()
            };
            (("shop".to_owned(), name.to_owned()), meta)
        };
        let rows = [
            (vec![], true),
            (vec![pod("plain", Mode::Inherit, false, false)], true),
            (vec![pod("ending", Mode::Ambient, true, true)], false),
            (vec![pod("never", Mode::Ambient, false, true)], true),
            (vec![pod("young", Mode::Ambient, false, false)], false),
            (vec![pod("left", Mode::Out, true, false)], false),
        ];
        for (on_node, expected) in rows {
            assert_eq!(unmeshed(&on_node, |_| None).good, expected, "{on_node:?}");
        }
        let two = [
            pod("b", Mode::Ambient, true, false),
            pod("a", Mode::Ambient, true, false),
        ];
        let text = unmeshed(&two, |_| None).text;
        assert_eq!(text, "2 enrolled pods are there: shop/a, shop/b");
    }

    #[test]
    fn a_pod_waits_until_its_sandbox_is_there_or_it_ends() {
        let pod = |status: &str, deleted: Option<&str>| -> Pod {
            serde_json::from_value(serde_json::json!({
                "metadata": {"name": "late", "namespace": "shop", "deletionTimestamp": deleted},
                "status": {"conditions": [
                    {"type": "PodScheduled", "status": "True"},
                    {"type": "PodReadyToStartContainers", "status": status},
                ]},
            }))
            .unwrap()
        };
        assert!(waits(&pod("False", None)));
        assert!(!waits(&pod("True", None)));
        assert!(!waits(&pod("False", Some("2026-11-21T00:00:00Z"))));
        let mut captured = pod("False", None);
        captured.metadata.annotations = Some(BTreeMap::from([(
            names::REDIRECTION_ANNOTATION.to_owned(),
            names::REDIRECTION_ENABLED.to_owned(),
        )]));
        assert!(!waits(&captured));
        assert!(waits(&Pod::default()));
        assert_eq!(name(&pod("False", None)), "shop/late");
    }

    #[test]
    fn a_pod_that_has_left_the_mesh_and_is_served_still_is_one_too_many() {
        let now = jiff::Timestamp::from_second(1000).unwrap();
        let pod = |name: &str, mode, age: i64, redirected: bool| {
            let meta = PodMeta {
                uid: name.to_owned(),
                mode,
                redirected,
                created: jiff::Timestamp::from_second(1000 - age).ok(),
                ..PodMeta::default()
            };
            (("shop".to_owned(), name.to_owned()), meta)
        };
        let on_node = [
            pod("in", Mode::Ambient, 100, true),
            // The agent has not let go of it yet.
            pod("leaves", Mode::Out, 100, true),
            pod("young", Mode::Out, 1, false),
            pod("out", Mode::Out, 100, false),
        ];
        let told = |served: &[&str]| {
            let served = served.iter().map(|name| (*name).to_owned()).collect();
            let seen = compare(&served, &on_node, |_| None, now);
            (seen.good, seen.text)
        };
        let all = "serves all 1 enrolled pods".to_owned();
        assert_eq!(told(&["in"]), (true, all.clone()));
        assert_eq!(told(&["in", "leaves", "young", "gone"]), (true, all));
        let surplus = "serves 1 pods that have left the mesh: shop/out".to_owned();
        assert_eq!(told(&["in", "out"]), (false, surplus));
        let both = told(&["out"]);
        assert!(!both.0 && both.1.contains("not shop/in"), "{}", both.1);
    }

    fn of_the_probe(age: i64, redirected: bool, deleting: bool) -> Placed {
        let meta = PodMeta {
            uid: "probe".to_owned(),
            mode: Mode::Inherit,
            redirected,
            deleting,
            created: jiff::Timestamp::from_second(1000 - age).ok(),
            ..PodMeta::default()
        };
        let name = "node-node-1".to_owned();
        ((names::PROBE_NAMESPACE.to_owned(), name), meta)
    }

    #[test]
    fn a_pod_of_the_probe_counts_where_it_is_captured_and_not_served() {
        let now = jiff::Timestamp::from_second(1000).unwrap();
        let all = (true, "serves all 0 enrolled pods");
        let lost = "serves 0 of 1 enrolled pods, not applink-probe/node-node-1";
        for (pod, is_served, expected) in [
            (of_the_probe(100, true, false), true, all),
            (of_the_probe(100, true, false), false, (false, lost)),
            (of_the_probe(100, true, true), false, all),
            // Nobody has captured it: nobody is to serve it.
            (of_the_probe(100, false, false), false, all),
        ] {
            let served = is_served.then(|| "probe".to_owned()).into_iter().collect();
            let seen = compare(&served, [&pod], |_| None, now);
            assert_eq!((seen.good, seen.text.as_str()), expected, "{pod:?}");
        }
    }

    #[test]
    fn a_young_pod_that_nobody_has_captured_yet_is_on_its_way() {
        let now = jiff::Timestamp::from_second(1000).unwrap();
        let of_a_user = |space: &str, age| {
            let ((_, name), pod) = of_the_probe(age, false, false);
            let mode = Mode::Ambient;
            ((space.to_owned(), name), PodMeta { mode, ..pod })
        };
        for (pod, expected) in [
            (of_the_probe(1, false, false), true),
            (of_the_probe(1, true, false), false),
            (of_the_probe(1, false, true), false),
            (of_the_probe(100, false, false), false),
            (of_a_user("shop", 1), true),
            (of_a_user("kube-system", 1), false),
        ] {
            let told = |served: &[&str]| {
                let served = served.iter().map(|uid| (*uid).to_owned()).collect();
                is_on_its_way(&served, std::slice::from_ref(&pod), |_| None, now)
            };
            assert_eq!(told(&[]), expected, "{pod:?}");
            assert!(!told(&["probe"]), "{pod:?}");
        }
    }

    #[test]
    fn only_enrolled_pods_that_count_are_missed() {
        let now = jiff::Timestamp::from_second(1000).unwrap();
        let pod = |name: &str, age: i64, redirected: bool, deleting: bool| {
            let meta = PodMeta {
                uid: name.to_owned(),
                mode: Mode::Ambient,
                redirected,
                deleting,
                created: jiff::Timestamp::from_second(1000 - age).ok(),
                ..PodMeta::default()
            };
            (("shop".to_owned(), name.to_owned()), meta)
        };
        let on_node = [
            pod("served", 100, true, false),
            pod("young", 1, false, false),
            pod("ending", 100, true, true),
        ];
        let served = BTreeSet::from(["served".to_owned(), "gone".to_owned()]);
        assert!(compare(&served, &on_node, |_| None, now).good);
        let lost = compare(&BTreeSet::new(), &on_node, |_| None, now);
        assert_eq!(
            (lost.good, lost.text.as_str()),
            (false, "serves 1 of 2 enrolled pods, not shop/served")
        );
    }
}
