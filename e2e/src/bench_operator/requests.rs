//! The operator's requests, as the audit log has them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use super::{Error, OPERATOR};
use crate::audit::{self, Entry};
use crate::stage;

/// Silence after which work is over.
const SETTLED: Duration = Duration::from_secs(10);

/// Waits until the operator has said what it still has to say: Events and a last status.
pub async fn settle(log: &Path, patience: Duration) -> Result<(), Error> {
    let deadline = Timestamp::now() + patience;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let last = audit::entries(log, OPERATOR)?
            .iter()
            .rev()
            .find(|entry| is_work(entry))
            .map(|entry| entry.at);
        let now = Timestamp::now();
        if last.is_none_or(|at| at + SETTLED < now) {
            return Ok(());
        }
        if now > deadline {
            return Err(stage::Error::Deadline {
                what: "the operator falling silent after its work".to_owned(),
                within: patience,
                last: format!("a request at {last:?}"),
            }
            .into());
        }
    }
}

/// Watches end by the clock of the server and are begun again; the Lease is renewed for ever.
pub fn is_work(entry: &Entry) -> bool {
    entry.resource != "leases" && entry.verb != "watch"
}

/// It may change an object.
pub fn is_write(entry: &Entry) -> bool {
    !["get", "list", "watch"].contains(&entry.verb.as_str())
}

/// How many there are of each kind, one line each.
pub fn by_kind(entries: &[Entry]) -> Vec<String> {
    let mut all: BTreeMap<String, u32> = BTreeMap::new();
    for entry in entries {
        let refused = if entry.code < 400 {
            String::new()
        } else {
            format!(" -> {}", entry.code)
        };
        let what = format!("{} {}{refused}", entry.verb, entry.resource);
        *all.entry(what).or_default() += 1;
    }
    all.into_iter()
        .map(|(what, count)| format!("{count:>6}  {what}"))
        .collect()
}

/// Writes about each node: to the node, and to the pods on it that its own move is about.
pub fn by_node(entries: &[Entry]) -> BTreeMap<&str, u32> {
    let mut all = BTreeMap::new();
    for node in entries.iter().filter_map(written_about) {
        *all.entry(node).or_default() += 1;
    }
    all
}

/// Those about one node as they came, one line each.
pub fn by_time(entries: &[Entry], node: &str) -> Vec<String> {
    entries
        .iter()
        .filter(|entry| written_about(entry) == Some(node))
        .map(|entry| {
            let Entry {
                at,
                verb,
                resource,
                name,
                ..
            } = entry;
            format!("{at:.1}  {verb} {resource}/{name} -> {}", entry.code)
        })
        .collect()
}

/// The node that a write is about.
fn written_about(entry: &Entry) -> Option<&str> {
    if !is_write(entry) {
        return None;
    }
    match entry.resource.as_str() {
        "nodes" => Some(entry.name.as_str()),
        "pods" if is_peer(entry) => None,
        // A pod that is created is on no node yet; that of the probe is called after the one it goes to.
        "pods" => entry
            .answer
            .node
            .as_deref()
            .or_else(|| entry.name.strip_prefix("node-")),
        _ => None,
    }
}

/// It is about a peer of the probe, which stands by while others move: two at a time for all nodes.
pub fn is_peer(entry: &Entry) -> bool {
    entry.resource == "pods" && entry.name.starts_with("peer-")
}

/// Writes that changed nothing: their answer carries a version no newer than one that the operator had been answered
/// before it asked. Every change in the cluster makes a version newer than all before it.
pub fn idle(entries: &[Entry]) -> Vec<&Entry> {
    let mut answered: Vec<&Entry> = entries.iter().collect();
    answered.sort_by_key(|entry| entry.answered);
    let mut asked: Vec<&Entry> = entries.iter().filter(|entry| may_be_idle(entry)).collect();
    asked.sort_by_key(|entry| entry.at);
    let (mut newest, mut next, mut found) = (0, 0, Vec::new());
    for entry in asked {
        while let Some(one) = answered.get(next).filter(|one| one.answered <= entry.at) {
            newest = newest.max(one.answer.version.unwrap_or_default());
            next += 1;
        }
        if entry
            .answer
            .version
            .is_some_and(|version| version <= newest)
        {
            found.push(entry);
        }
    }
    found
}

/// What is deleted at once is answered as it was; a pod on a node is told to end first, which changes it.
fn may_be_idle(entry: &Entry) -> bool {
    let ends_later = entry.resource == "pods" && entry.answer.node.is_some();
    entry.code < 300 && is_write(entry) && (entry.verb != "delete" || ends_later)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Answer;

    fn entry(verb: &str, resource: &str, code: u16) -> Entry {
        Entry {
            at: Timestamp::UNIX_EPOCH,
            verb: verb.to_owned(),
            resource: resource.to_owned(),
            group: String::new(),
            namespace: String::new(),
            name: String::new(),
            code,
            agent: String::new(),
            answered: Timestamp::UNIX_EPOCH,
            answer: Answer::default(),
        }
    }

    #[test]
    fn the_lease_and_watches_are_no_work() {
        assert!(is_work(&entry("patch", "pods", 200)));
        assert!(!is_work(&entry("update", "leases", 200)));
        assert!(!is_work(&entry("watch", "pods", 200)));
    }

    #[test]
    fn requests_are_counted_by_kind_and_refusals_apart() {
        let seen = by_kind(&[
            entry("patch", "services", 201),
            entry("patch", "services", 200),
            entry("get", "secrets", 404),
        ]);
        assert_eq!(
            seen,
            ["     1  get secrets -> 404", "     2  patch services"]
        );
    }

    #[test]
    fn writes_are_counted_for_the_node_they_are_about() {
        let of = |verb: &str, resource: &str, name: &str, node: Option<&str>| Entry {
            name: name.to_owned(),
            answer: Answer {
                node: node.map(str::to_owned),
                version: None,
            },
            ..entry(verb, resource, 200)
        };
        let all = [
            of("patch", "nodes", "a", None),
            of("get", "nodes", "a", None),
            of("delete", "pods", "istio-cni-node-x", Some("a")),
            of("patch", "pods", "node-b", None),
            of("patch", "pods", "peer-0-b", None),
            of("delete", "pods", "peer-0-b", Some("b")),
            of("patch", "meshmembers/status", "a", None),
        ];
        assert_eq!(by_node(&all), BTreeMap::from([("a", 2), ("b", 1)]));
    }

    #[test]
    fn a_write_is_idle_when_its_answer_is_no_newer_than_what_was_known() {
        let of = |second: i64, version: u64, verb: &str| Entry {
            at: Timestamp::from_second(second).unwrap(),
            answered: Timestamp::from_second(second + 1).unwrap(),
            answer: Answer {
                version: Some(version),
                node: None,
            },
            ..entry(verb, "nodes", 200)
        };
        let all = [
            of(0, 10, "patch"),
            // At the same time as the first, which was answered later.
            of(0, 9, "patch"),
            of(5, 11, "patch"),
            of(10, 10, "patch"),
            of(20, 10, "delete"),
            of(30, 10, "get"),
            of(40, 12, "patch"),
        ];
        assert_eq!(idle(&all), [&all[3]]);
    }
}
