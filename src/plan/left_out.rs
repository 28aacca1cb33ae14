//! Nodes that a changed node selector leaves out: the mesh stays where it is while enrolled pods need it.
//!
//! A `DaemonSet` takes its pods away as soon as a node does not match its affinity any longer, and an agent whose node has
//! left the mesh cleans up: whoever is enrolled there would be sent to a proxy that is gone.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::fleet::agreed;
use crate::facts::{Answer, Facts, Node, Question};
use crate::names;

/// How long a node counts as one without enrolled pods: all of them have to at the same time.
const VACANT: SignedDuration = SignedDuration::from_secs(30);
/// How long one counts as one with such pods: nobody tells when they have gone.
const IN_USE: SignedDuration = SignedDuration::from_secs(15);
/// For so long a node may be silent that had no enrolled pods, before that is told.
const SILENT: SignedDuration = SignedDuration::from_secs(10);
/// Nodes that are asked about at once while nothing is known of any. One that is in use is enough to wait.
const AT_ONCE: usize = 32;

/// What keeps the mesh on nodes that the spec leaves out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LeftOut {
    /// So many nodes would leave.
    pub nodes: usize,
    /// Where the mesh runs and stays: not each of them is known to be without enrolled pods.
    pub kept: Option<BTreeMap<String, String>>,
    /// Those that had some when they were asked about, by name, and what was seen.
    pub in_use: BTreeMap<String, String>,
    /// Those that cannot be asked about, and why.
    pub silent: BTreeMap<String, String>,
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

/// Nodes that carry the mesh and lack a label that is `wanted` by now. None leaves before no enrolled pod is on any.
pub fn left_out(facts: &Facts, wanted: &BTreeMap<String, String>, now: Timestamp) -> LeftOut {
    let mut found = LeftOut::default();
    let Some(current) = agreed(facts).filter(|current| current != wanted) else {
        return found;
    };
    let carrying: BTreeSet<&str> = facts
        .pods_with("app", names::ZTUNNEL)
        .map(|pod| pod.node.as_str())
        .collect();
    let leaves = |node: &Node| {
        carrying.contains(node.name.as_str()) && node.has(&current) && !node.has(wanted)
    };
    let mut open = Vec::new();
    let mut in_use_until = None;
    let mut is_kept = false;
    for node in facts.nodes.values().filter(|node| leaves(node)) {
        found.nodes += 1;
        let question = Question::vacant(node);
        let answer = facts.answers.get(&question);
        if let Some(answer) = answer {
            found.tell(&node.name, answer, now);
        }
        match known(answer, now) {
            Known::Vacant => continue,
            Known::InUse(until) => in_use_until = in_use_until.max(Some(until)),
            Known::Unknown(due) => {
                let was_in_use = found.in_use.contains_key(&node.name);
                let asked = answer.map(|answer| answer.at);
                open.push(((!was_in_use, asked), due, question));
            }
        }
        is_kept = true;
    }
    found.kept = is_kept.then_some(current);
    if in_use_until.is_some() {
        found.again_at = in_use_until;
        return found;
    }
    // While somebody is there nobody else needs to be asked: one at a time, in turn.
    open.sort_by_key(|(order, ..)| *order);
    let at_once = if found.in_use.is_empty() { AT_ONCE } else { 1 };
    open.truncate(at_once);
    found.again_at = open.iter().map(|one| one.1).filter(|due| *due > now).min();
    let due = open.into_iter().filter(|one| one.1 <= now);
    found.questions = due.map(|one| one.2).collect();
    found
}

impl LeftOut {
    /// What somebody should know of a node.
    fn tell(&mut self, node: &str, answer: &Answer, now: Timestamp) {
        match &answer.seen {
            Ok(seen) if seen.good => {}
            Ok(seen) => {
                self.in_use.insert(node.to_owned(), seen.text.clone());
            }
            Err(error) => {
                let is_long = now.duration_since(answer.since) >= SILENT;
                if is_long || answer.bad_since.is_some() {
                    self.silent.insert(node.to_owned(), error.clone());
                }
            }
        }
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
