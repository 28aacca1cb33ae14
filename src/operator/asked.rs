//! Questions that are being asked, and what was answered: shared with the tasks that ask.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::facts::{Answers, Facts, Question};

/// What is shared with tasks that ask components.
#[derive(Clone, Default)]
pub struct Asked {
    pub answers: Arc<Mutex<Answers>>,
    pub asking: Arc<Mutex<BTreeSet<Question>>>,
}

impl Asked {
    /// Answers so far.
    pub fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last answer was not a good one.
    pub fn is_bad(&self, question: &Question) -> bool {
        self.answers()
            .get(question)
            .is_some_and(|answer| !answer.is_good())
    }

    /// Forgets what was said about a node: it has been changed since.
    pub fn forget_node(&self, node: &str) {
        self.answers()
            .retain(|question, _| question.node() != Some(node));
    }

    /// Forgets what the other pods of a node said that was about this one not being the one that stays.
    pub fn forget_others(&self, node: &str, pod: &str) {
        self.answers()
            .retain(|question, _| !question.is_over_by(node, pod));
    }

    /// Forgets what proxies have counted: somebody asks to try again, and nothing of before is held against them.
    pub fn forget_counts(&self) {
        self.answers()
            .retain(|question, _| !matches!(question, Question::Counts { .. }));
    }

    /// Forgets pods and nodes that are gone.
    pub fn forget_gone(&self, facts: &Facts) {
        self.answers().retain(|question, _| match question {
            Question::ControlPlane { pod, uid }
            | Question::Proxy { pod, uid, .. }
            | Question::StandDown { pod, uid, .. }
            | Question::Counts { pod, uid, .. } => facts
                .pods
                .get(pod)
                .is_some_and(|pod| pod.incarnation() == *uid),
            Question::Probe { pods, .. } => pods.iter().all(|one| {
                (facts.probes.get(&one.pod)).is_some_and(|pod| pod.incarnation() == one.uid)
            }),
            Question::Room { node, uid, .. }
            | Question::Sandboxes { node, uid }
            | Question::Vacant { node, uid } => {
                facts.nodes.get(node).is_some_and(|node| node.uid == *uid)
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::facts::{Answer, Evidence};

    #[test]
    fn who_tries_again_hears_nothing_of_what_was_counted_before() {
        let asked = Asked::default();
        let (node, uid) = ("node-1".to_owned(), "u".to_owned());
        let counts = Question::Counts {
            node: node.clone(),
            pod: "p".to_owned(),
            uid: uid.clone(),
        };
        let vacant = Question::Vacant { node, uid };
        for question in [&counts, &vacant] {
            let answer = Answer::after(None, Timestamp::UNIX_EPOCH, Ok(Evidence::default()));
            asked.answers().insert(question.clone(), answer);
        }
        asked.forget_counts();
        let left: Vec<Question> = asked.answers().keys().cloned().collect();
        assert_eq!(left, [vacant]);
    }
}
