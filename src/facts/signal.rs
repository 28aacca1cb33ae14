//! Questions to running components, and their answers.
//!
//! A question carries the identity of who is asked, so an answer never outlives the pod that gave it.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

use super::{Connections, Node, Replicas};

/// A question to a running component.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// Does istiod take TLS for xDS with a certificate of our CA, and does it sign?
    ControlPlane {
        /// Name of the pod asked.
        pod: String,
        /// Its uid.
        uid: String,
    },
    /// Does the proxy serve every enrolled pod of its node? A proxy whose answer was not a good one takes a new connection
    /// to the network agent before it is asked again: the newest one gets new pods, and the full list.
    Proxy {
        /// The node.
        node: String,
        /// Name of the proxy's pod.
        pod: String,
        /// Its incarnation.
        uid: String,
        /// Incarnation of the network agent's pod beside it.
        agent: String,
        /// Incarnations of the proxies that are to leave the node, sorted.
        leavers: Vec<String>,
        /// It takes a new connection before it is asked the first time, too.
        reconnect: bool,
    },
    /// Will the proxy keep its connection to the network agent, and never make another? Asking tells it to.
    StandDown {
        /// The node.
        node: String,
        /// Name of the proxy's pod.
        pod: String,
        /// Its incarnation.
        uid: String,
    },
    /// How many connections has the proxy made since it started, and how many of them failed?
    Counts {
        /// The node.
        node: String,
        /// Name of the proxy's pod.
        pod: String,
        /// Its incarnation.
        uid: String,
    },
    /// Has the node room for one more proxy?
    Room {
        /// The node.
        node: String,
        /// Its uid.
        uid: String,
        /// Thousandths of a processor the proxy asks for.
        millicores: u64,
        /// Bytes of memory it asks for.
        bytes: u64,
    },
    /// Does no pod of the node wait for its sandbox? One that does without the network agent is tried again by the kubelet
    /// a quarter of a minute later.
    Sandboxes {
        /// The node.
        node: String,
        /// Its uid.
        uid: String,
    },
    /// Is no pod of the mesh on the node? One that is would lose its way with the last proxy.
    Vacant {
        /// The node.
        node: String,
        /// Its uid.
        uid: String,
    },
    /// Do new connections between the probe's pod on a node and another one go through, both ways?
    Probe {
        /// The node.
        node: String,
        /// Incarnation of the proxy they go through there.
        proxy: String,
        /// The pod on that node and two elsewhere: the second one is asked and asks, and asks the third one so that it
        /// is known whether anybody is let through at all.
        pods: Box<[ProbePod; 3]>,
    },
}

/// A pod of the operator's own probe.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProbePod {
    /// Its name.
    pub pod: String,
    /// Its incarnation.
    pub uid: String,
    /// Its address.
    pub address: String,
    /// The node it is on.
    pub node: String,
}

impl Question {
    /// [`Question::Vacant`] of a node.
    pub fn vacant(node: &Node) -> Self {
        Self::Vacant {
            node: node.name.clone(),
            uid: node.uid.clone(),
        }
    }

    /// The gate that it is asked for, as status and metrics name it.
    pub fn gate(&self) -> &'static str {
        match self {
            Self::ControlPlane { .. } => "ControlPlane",
            Self::Proxy { .. } => "Pods",
            Self::StandDown { .. } => "StandDown",
            Self::Counts { .. } => "Failures",
            Self::Vacant { .. } => "Vacant",
            Self::Room { .. } => "Room",
            Self::Sandboxes { .. } => "Sandboxes",
            Self::Probe { .. } => "Probe",
        }
    }

    /// The pod that is asked; of the probe the one on the node that it is about.
    pub fn pod(&self) -> Option<&str> {
        match self {
            Self::ControlPlane { pod, .. }
            | Self::Proxy { pod, .. }
            | Self::StandDown { pod, .. }
            | Self::Counts { pod, .. } => Some(pod),
            Self::Probe { pods, .. } => Some(&pods[0].pod),
            Self::Room { .. } | Self::Sandboxes { .. } | Self::Vacant { .. } => None,
        }
    }

    /// Its answer says nothing any longer once this pod of the node is asked to take a new connection: another one of the
    /// node has said it, and not of what it has counted; or this one has said that it stands down.
    pub fn is_over_by(&self, node: &str, pod: &str) -> bool {
        let is_over = match self {
            Self::Counts { .. } => false,
            Self::StandDown { .. } => true,
            _ => self.pod() != Some(pod),
        };
        is_over && self.node() == Some(node)
    }

    /// Asking both at once would leave it open what the pod is told last: to stand down, or to take a new connection.
    pub fn contradicts(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::StandDown { pod, uid, .. },
                Self::Proxy {
                    pod: one, uid: its, ..
                },
            )
            | (
                Self::Proxy { pod, uid, .. },
                Self::StandDown {
                    pod: one, uid: its, ..
                },
            ) => (pod, uid) == (one, its),
            _ => false,
        }
    }

    /// The node it is about.
    pub fn node(&self) -> Option<&str> {
        match self {
            Self::Proxy { node, .. }
            | Self::StandDown { node, .. }
            | Self::Counts { node, .. }
            | Self::Room { node, .. }
            | Self::Sandboxes { node, .. }
            | Self::Vacant { node, .. }
            | Self::Probe { node, .. } => Some(node),
            Self::ControlPlane { .. } => None,
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ControlPlane { pod, .. }
            | Self::Proxy { pod, .. }
            | Self::StandDown { pod, .. }
            | Self::Counts { pod, .. } => write!(f, "Pod {pod}"),
            Self::Room { node, .. } | Self::Sandboxes { node, .. } | Self::Vacant { node, .. } => {
                write!(f, "Node {node}")
            }
            Self::Probe { pods, .. } => write!(f, "Pod {}", pods[0].pod),
        }
    }
}

/// What an answer shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Of a node that was asked for room: its running pods by their controller.
    pub replicas: Replicas,
    /// What was counted for it; none where it is not about a number of things.
    pub tally: Option<Tally>,
    /// It is as it should be.
    pub good: bool,
    /// What was seen, with numbers.
    pub text: String,
    /// What a proxy has counted; none where that was not asked, or it counts nothing.
    pub counted: Option<Connections>,
}

/// How many of how many things that were counted are as they should be: pods that are served, connections that went
/// through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// As they should be.
    pub good: usize,
    /// All.
    pub all: usize,
}

impl Tally {
    /// So many of so many.
    pub fn of(good: usize, all: usize) -> Self {
        Self { good, all }
    }
}

/// Of a silence as long as this nobody can say that things were bad meanwhile.
const SILENCE: jiff::SignedDuration = jiff::SignedDuration::from_secs(30);

/// An answer, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// When.
    pub at: Timestamp,
    /// Since when answers are like this one: good, bad, or none at all. Bad ones go on across a short silence.
    pub since: Timestamp,
    /// Since when they were bad, as of the last one that was; none since a good one.
    pub bad_since: Option<Timestamp>,
    /// What was seen; an error text when nobody answered.
    pub seen: Result<Evidence, String>,
    /// How often in a row the answer was not a good one.
    pub failures: u32,
    /// What had been counted by the last answer before this one that told it.
    pub earlier: Option<Connections>,
}

impl Answer {
    /// An answer at this moment after the one before, if there was one.
    pub fn after(before: Option<&Self>, at: Timestamp, seen: Result<Evidence, String>) -> Self {
        let mut answer = Self {
            at,
            since: at,
            bad_since: None,
            seen,
            failures: 0,
            earlier: before.and_then(|before| before.counted().or(before.earlier)),
        };
        // The row of good answers, or of those that are not, that this one goes on with.
        let row = before.filter(|before| before.is_good() == answer.is_good());
        answer.bad_since = row.and_then(|row| row.bad_since);
        if !answer.is_good() {
            answer.failures = row.map_or(0, |row| row.failures).saturating_add(1);
        }
        match row {
            Some(row) if row.is_unknown() == answer.is_unknown() => answer.since = row.since,
            _ if answer.is_good() || answer.is_unknown() => {}
            silence => {
                let is_short = |one: &Self| at.duration_since(one.since) < SILENCE;
                let known = answer.bad_since.filter(|_| silence.is_some_and(is_short));
                answer.since = known.unwrap_or(at);
                answer.bad_since = Some(answer.since);
            }
        }
        answer
    }

    /// It is as it should be.
    pub fn is_good(&self) -> bool {
        self.seen.as_ref().is_ok_and(|seen| seen.good)
    }

    /// What a proxy has counted.
    pub fn counted(&self) -> Option<Connections> {
        self.seen.as_ref().ok()?.counted
    }

    /// Nobody answered: nothing is known.
    pub fn is_unknown(&self) -> bool {
        self.seen.is_err()
    }

    /// What to tell people.
    pub fn text(&self) -> &str {
        match &self.seen {
            Ok(seen) => &seen.text,
            Err(error) => error,
        }
    }

    /// When to ask again: after 0.25, 0.5, 1, 2 and then every 4 seconds.
    pub fn ask_again(&self) -> Timestamp {
        let millis = 250_i64 << self.failures.saturating_sub(1).min(4);
        self.at
            .checked_add(jiff::SignedDuration::from_millis(millis))
            .unwrap_or(self.at)
    }
}

/// Answers by question.
pub type Answers = BTreeMap<Question, Answer>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_before_is_remembered_across_a_silence() {
        let counted = |tried| {
            Ok(Evidence {
                good: true,
                counted: Some(Connections::new(tried, 0)),
                ..Evidence::default()
            })
        };
        let mut before = None;
        for (seen, earlier) in [
            (counted(5), None),
            (Err("nobody answers".to_owned()), Some(5)),
            (counted(9), Some(5)),
            (counted(12), Some(9)),
        ] {
            let answer = Answer::after(before.as_ref(), Timestamp::UNIX_EPOCH, seen);
            assert_eq!(answer.earlier.map(Connections::tried), earlier);
            before = Some(answer);
        }
    }

    #[test]
    fn a_new_connection_of_a_pod_ends_its_stand_down_and_what_others_of_its_node_said_but_not_what_they_have_counted()
     {
        let (node, uid) = ("node-1".to_owned(), "u".to_owned());
        let counts = |pod: &str| Question::Counts {
            node: node.clone(),
            pod: pod.to_owned(),
            uid: uid.clone(),
        };
        let stand_down = |pod: &str| Question::StandDown {
            node: node.clone(),
            pod: pod.to_owned(),
            uid: uid.clone(),
        };
        for (question, node, is_over) in [
            (stand_down("leaver"), "node-1", true),
            (stand_down("leaver"), "node-2", false),
            (stand_down("stays"), "node-1", true),
            (counts("leaver"), "node-1", false),
        ] {
            let told = question.is_over_by(node, "stays");
            assert_eq!(told, is_over, "{question:?} {node}");
        }
    }

    #[test]
    fn a_silence_neither_becomes_a_bad_answer_nor_ends_a_row_of_them() {
        let at = |seconds: i64| Timestamp::from_second(seconds).unwrap();
        let evidence = |good| {
            Ok(Evidence {
                good,
                ..Evidence::default()
            })
        };
        let silent = || Err("nobody answers".to_owned());
        // What is answered when, and since when it counts.
        let rows = [
            (0, evidence(true), 0, 0),
            (10, evidence(false), 10, 1),
            (50, silent(), 50, 2),
            (52, evidence(false), 10, 3),
            (60, silent(), 60, 4),
            (100, silent(), 60, 5),
            (104, evidence(false), 104, 6),
            (110, evidence(true), 110, 0),
            (120, silent(), 120, 1),
            (130, evidence(false), 130, 2),
        ];
        let mut before: Option<Answer> = None;
        for (seconds, seen, since, failures) in rows {
            let answer = Answer::after(before.as_ref(), at(seconds), seen);
            assert_eq!(
                (answer.since, answer.failures),
                (at(since), failures),
                "{seconds}"
            );
            before = Some(answer);
        }
    }
}
