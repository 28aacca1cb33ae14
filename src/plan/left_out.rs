//! Nodes that a changed node selector leaves out: the mesh stays where it is while enrolled pods need it.
//!
//! A `DaemonSet` takes its pods away as soon as a node does not match its affinity any longer, and an agent whose node has
//! left the mesh cleans up: whoever is enrolled there would be sent to a proxy that is gone.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::fleet::placement;
use super::target::NodeRules;
use crate::facts::{Answer, Facts, Node, Question};

/// How long a node counts as one without enrolled pods: all of them have to at the same time.
const VACANT: SignedDuration = SignedDuration::from_mins(10);
/// How long one counts as one with such pods: nobody tells when they have gone.
const IN_USE: SignedDuration = SignedDuration::from_secs(15);
/// From so many failures in a row on it is told that a node's pods cannot be asked for.
const SILENT: u32 = 3;
/// Nodes that are asked about at once. One with enrolled pods is enough to wait.
const AT_ONCE: usize = 32;

/// What keeps the mesh on nodes that the spec leaves out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LeftOut {
    /// So many nodes would leave.
    pub nodes: usize,
    /// Not each of them is known to be without enrolled pods: none leaves.
    pub is_kept: bool,
    /// Those that had some when they were asked about, or could not be asked about, by name, and what was seen.
    pub in_use: BTreeMap<String, String>,
    /// What is to be asked.
    pub questions: Vec<Question>,
    /// When to look again although nothing changes.
    pub again_at: Option<Timestamp>,
}

/// What is known of a node that would leave.
enum Known {
    /// No enrolled pod is there.
    Vacant,
    /// Some are; until then that counts.
    InUse(Timestamp),
    /// Nothing that counts still; from then on it may be asked.
    Unknown(Timestamp),
}

/// Nodes where the mesh runs and which lack a label that is `wanted` by now.
pub fn left_out(facts: &Facts, wanted: &BTreeMap<String, String>, now: Timestamp) -> LeftOut {
    let mut found = LeftOut::default();
    let Some(current) = placement(facts) else {
        return found;
    };
    let mut open = Vec::new();
    let mut in_use_until = None;
    let leaves =
        |node: &Node| NodeRules::can_carry(node) && has(node, &current) && !has(node, wanted);
    for node in facts.nodes.values().filter(|node| leaves(node)) {
        found.nodes += 1;
        let question = Question::Vacant {
            node: node.name.clone(),
            uid: node.uid.clone(),
        };
        let answer = facts.answers.get(&question);
        if let Some(text) = answer.and_then(told) {
            found.in_use.insert(node.name.clone(), text);
        }
        match known(answer, now) {
            Known::Vacant => continue,
            Known::InUse(until) => in_use_until = in_use_until.max(Some(until)),
            Known::Unknown(due) => open.push((due, question)),
        }
        found.is_kept = true;
    }
    if in_use_until.is_some() {
        found.again_at = in_use_until;
        return found;
    }
    // Who was in use is asked about first: it may be all that is waited for.
    open.sort_by_key(|(_, question)| {
        let name = question.node().unwrap_or_default();
        (!found.in_use.contains_key(name), name.to_owned())
    });
    for (due, question) in open.into_iter().take(AT_ONCE) {
        if due <= now {
            found.questions.push(question);
        } else {
            found.again_at = Some(found.again_at.map_or(due, |known| known.min(due)));
        }
    }
    found
}

fn has(node: &Node, labels: &BTreeMap<String, String>) -> bool {
    labels
        .iter()
        .all(|(key, value)| node.labels.get(key) == Some(value))
}

/// What somebody should know of a node that keeps the mesh.
fn told(answer: &Answer) -> Option<String> {
    match &answer.seen {
        Ok(seen) => (!seen.good).then(|| seen.text.clone()),
        Err(error) => (answer.failures >= SILENT)
            .then(|| format!("nobody knows which pods there are: {error}")),
    }
}

fn known(answer: Option<&Answer>, now: Timestamp) -> Known {
    let Some(answer) = answer else {
        return Known::Unknown(now);
    };
    let lasts = |time| answer.at.checked_add(time).unwrap_or(answer.at);
    match &answer.seen {
        Ok(seen) if seen.good && now < lasts(VACANT) => Known::Vacant,
        Ok(seen) if !seen.good && now < lasts(IN_USE) => Known::InUse(lasts(IN_USE)),
        Ok(_) => Known::Unknown(now),
        Err(_) => Known::Unknown(answer.ask_again()),
    }
}
