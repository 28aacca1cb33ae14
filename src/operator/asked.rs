//! Questions that are being asked, and what was answered: shared with the tasks that ask.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::facts::{Answer, Answers, Evidence, Facts, Question};

/// What is shared with tasks that ask components.
#[derive(Clone, Default)]
pub struct Asked {
    answers: Arc<Mutex<Answers>>,
    asking: Arc<Mutex<BTreeSet<Question>>>,
}

impl Asked {
    /// Whether it may be asked now, which is noted: not while it is being asked, nor anything that it would contradict.
    pub fn begin(&self, question: &Question) -> bool {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        if asking.iter().any(|one| one.contradicts(question)) {
            return false;
        }
        asking.insert(question.clone())
    }

    /// Notes what was seen; it may be asked again. Whether all is as it should be.
    pub fn end(&self, question: &Question, now: Timestamp, seen: Result<Evidence, String>) -> bool {
        let mut answers = self.answers();
        let answer = Answer::after(answers.get(question), now, seen);
        let is_good = answer.is_good();
        answers.insert(question.clone(), answer);
        drop(answers);
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        asking.remove(question);
        is_good
    }

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
    use super::*;

    #[test]
    fn a_proxy_is_not_told_to_stand_down_and_to_take_a_new_connection_at_once() {
        let asked = Asked::default();
        let stand_down = |uid: &str| Question::StandDown {
            node: "node-1".to_owned(),
            pod: "p".to_owned(),
            uid: uid.to_owned(),
        };
        let serves = Question::Proxy {
            node: "node-1".to_owned(),
            pod: "p".to_owned(),
            uid: "u".to_owned(),
            agent: "a".to_owned(),
            leavers: Vec::new(),
            reconnect: true,
        };
        assert!(asked.begin(&stand_down("u")));
        assert!(!asked.begin(&stand_down("u")), "it is being asked");
        assert!(!asked.begin(&serves), "its answer is on the way");
        let told = asked.end(
            &stand_down("u"),
            Timestamp::UNIX_EPOCH,
            Err("late".to_owned()),
        );
        assert!(!told);
        assert!(asked.begin(&serves), "it has been answered");
        assert!(!asked.begin(&stand_down("u")), "the same the other way");
        assert!(asked.begin(&stand_down("of before")), "another process");
    }

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
