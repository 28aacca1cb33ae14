//! A node's connection failures against its own baseline: what the proxy before had counted when it was told to go.
//!
//! The baseline is an annotation of the node, written by the patch that leaves the arriving proxy alone there and removed
//! by the next change of that label: so it costs no write, outlives the operator, and is never of another rollout. What
//! cannot be read counts as none.
//!
//! A node fails when both proxies have made enough connections, a larger part of the new ones failed than of those before
//! and `maxFailureIncrease` together, this is more than a handful, and a second look finds that it goes on. Rates of few
//! connections say nothing, a client that asks somebody who is not there is nobody's release, and a service of a user's
//! that is away for a moment is back by the second look.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::act::{Act, Plan};
use super::gate::{Failed, Gate};
use super::judge::Judge;
use crate::blueprint::Permille;
use crate::facts::{Answer, Connections, Node, Pod, Question};
use crate::names;

/// Fewer connections than this have no rate: of the proxy before, or of the one that arrived.
const FEWEST: u64 = 20;
/// How many more must have failed than the baseline explains, however few there were.
const LEAST: u64 = 5;
/// The looks while a node is watched: one of so many parts apart, and at least this.
const PARTS: i32 = 3;
const APART: SignedDuration = SignedDuration::from_secs(15);
/// When a suspicion is looked at again, and how soon somebody who has not answered is asked again.
const AGAIN: SignedDuration = SignedDuration::from_secs(10);
/// How long nobody may answer before the other gates decide.
const PATIENCE: SignedDuration = SignedDuration::from_secs(30);
/// How often the proxy that leaves is asked before it leaves without.
const MOST_CALLS: u32 = 2;

/// The value of the annotation.
#[derive(Serialize, Deserialize)]
struct Baseline {
    /// The revision that arrived.
    to: String,
    tried: u64,
    failed: u64,
}

/// The annotation of a node on which this revision's proxy is left alone. None when it cannot be written as JSON, which
/// numbers and a name always can.
pub(super) fn written(arriving: &str, counted: Connections) -> Option<String> {
    let baseline = Baseline {
        to: arriving.to_owned(),
        tried: counted.tried(),
        failed: counted.failed(),
    };
    serde_json::to_string(&baseline).ok()
}

/// What had been counted on a node before this revision was left alone there.
pub(super) fn read(node: &Node, arriving: &str) -> Option<Connections> {
    let text = node.annotations.get(names::BASELINE_ANNOTATION)?;
    let baseline: Baseline = serde_json::from_str(text).ok()?;
    (baseline.to == arriving).then(|| Connections::new(baseline.tried, baseline.failed))
}

/// What the counts of a proxy come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ruling {
    /// No worse than the one before.
    Well,
    /// It looks worse; one more look will tell.
    Doubtful,
    /// It is worse.
    Worse,
}

/// A larger part of these failed than of those before and the increase together.
fn exceeds(before: Connections, now: Connections, limit: Permille) -> bool {
    let [tried_before, failed_before] = [before.tried(), before.failed()].map(u128::from);
    let [tried, failed] = [now.tried(), now.failed()].map(u128::from);
    let allowed = failed_before * 1000 + u128::from(limit.0) * tried_before;
    failed * 1000 * tried_before > tried * allowed
}

/// The same where there are enough of both to say so.
fn is_worse(before: Connections, now: Connections, limit: Permille) -> bool {
    let is_enough = before.tried() >= FEWEST && now.tried() >= FEWEST;
    let [tried_before, failed_before] = [before.tried(), before.failed()].map(u128::from);
    let [tried, failed] = [now.tried(), now.failed()].map(u128::from);
    // As many as the baseline explains, and the least on top.
    let least = failed_before * tried + u128::from(LEAST) * tried_before;
    is_enough && failed * tried_before >= least && exceeds(before, now, limit)
}

fn rule(
    before: Connections,
    earlier: Option<Connections>,
    now: Connections,
    limit: Permille,
) -> Ruling {
    if !is_worse(before, now, limit) {
        return Ruling::Well;
    }
    match earlier.filter(|earlier| is_worse(before, *earlier, limit)) {
        None => Ruling::Doubtful,
        // Nothing has failed since then, or no larger part than before: it is over.
        Some(earlier) if !exceeds(before, now.since(earlier), limit) => Ruling::Well,
        Some(_) => Ruling::Worse,
    }
}

/// How a node's connections compare with its baseline.
pub(super) struct Compared {
    /// What was seen, with the numbers.
    pub text: String,
    /// It has to be looked at once more before the node is done.
    pub is_open: bool,
    /// The gate that was not passed.
    pub failed: Option<Failed>,
}

/// What a proxy is asked for what it has counted.
pub(super) fn question(node: &Node, proxy: &Pod) -> Question {
    Question::Counts {
        node: node.name.clone(),
        pod: proxy.name.clone(),
        uid: proxy.incarnation(),
    }
}

fn after(at: Timestamp, time: SignedDuration) -> Timestamp {
    at.checked_add(time).unwrap_or(at)
}

impl Judge<'_, '_> {
    /// The baseline to write when one of these proxies is told to go; an error while it has still to be asked.
    pub(super) fn baseline(
        &self,
        node: &Node,
        leavers: &[&Pod],
        plan: &mut Plan,
    ) -> Result<Option<String>, String> {
        let Some(leaver) = leavers.first().filter(|_| self.way.is_forward) else {
            return Ok(None);
        };
        let question = question(node, leaver);
        let good = plan.ask(self.facts, &question, self.now);
        match self.facts.answers.get(&question) {
            Some(answer) if good => Ok(answer
                .counted()
                .and_then(|counted| written(&self.way.survivor, counted))),
            Some(answer) if answer.failures >= MOST_CALLS => Ok(None),
            Some(answer) => Err(format!(
                "{} is asked for its connections: {}",
                leaver.name,
                answer.text()
            )),
            None => Err(format!("{} is asked for its connections", leaver.name)),
        }
    }

    /// Holds what a proxy that is watched until then has counted against the node's baseline. None where there is nothing to
    /// hold it against, or nobody waits for it any longer.
    pub(super) fn compare(
        &self,
        node: &Node,
        proxy: &Pod,
        until: Timestamp,
        plan: &mut Plan,
    ) -> Option<Compared> {
        let before = read(node, &self.way.survivor)
            .filter(|before| self.way.is_forward && before.tried() >= FEWEST)?;
        let question = question(node, proxy);
        let answer = self.facts.answers.get(&question);
        let counted = answer.and_then(Answer::counted);
        plan.compared.extend(counted.map(|now| (before, now)));
        // Its probe is the record that a node still owes its proofs. Without one only the time tells: who has gone on for
        // long is not judged anew by an operator that has just started.
        let owes = self.probes.is_some_and(|one| one.of_node(node).is_some());
        if !owes && after(until, self.timeout) <= self.now {
            return None;
        }
        let mut compared = Compared {
            text: "they have not been counted yet".to_owned(),
            is_open: true,
            failed: None,
        };
        let due = match (answer, counted) {
            (None, _) => Some(self.now),
            (Some(answer), Some(now)) => {
                let limit = self.limit;
                compared.text = format!(
                    "{now} new connections failed, before {before}, and at most {limit} more may"
                );
                match rule(before, answer.earlier, now, limit) {
                    Ruling::Well if answer.at >= until => None,
                    Ruling::Well => Some(after(answer.at, self.apart()).min(until)),
                    Ruling::Doubtful => Some(after(answer.at, AGAIN)),
                    Ruling::Worse => {
                        compared.failed = Some(Failed {
                            gate: Gate::Failures,
                            node: node.name.clone(),
                            pod: proxy.name.clone(),
                            message: compared.text.clone(),
                        });
                        return Some(compared);
                    }
                }
            }
            // It counts nothing, or nobody answers for so long: the other gates decide.
            (Some(answer), None) => {
                answer.text().clone_into(&mut compared.text);
                let lasts = self.now.duration_since(answer.since);
                if answer.is_good() || lasts >= PATIENCE {
                    let why = format!("its connections: {}", answer.text());
                    plan.unproved.insert(node.name.clone(), why);
                    None
                } else {
                    Some(after(answer.at, AGAIN))
                }
            }
        };
        compared.is_open = due.is_some();
        match due {
            Some(due) if due <= self.now => plan.acts.push(Act::Ask(question)),
            Some(due) => plan.again_by(due),
            None => {}
        }
        Some(compared)
    }

    /// Between two looks at a node that is watched.
    fn apart(&self) -> SignedDuration {
        self.soak.checked_div(PARTS).unwrap_or(APART).max(APART)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Permille = Permille(10);

    fn of(tried: u64, failed: u64) -> Connections {
        Connections::new(tried, failed)
    }

    #[test]
    fn a_rate_is_worse_by_more_than_the_limit_and_by_more_than_a_handful() {
        let nothing = (9_120, 0);
        let some = (1_000, 100);
        // The baseline, what was counted since, and whether that is worse.
        let rows = [
            (nothing, (410, 31), true),
            (nothing, (410, 0), false),
            // The handful.
            (nothing, (20, 4), false),
            (nothing, (20, 5), true),
            // The limit itself may be reached.
            (nothing, (1_000, 10), false),
            (nothing, (1_000, 11), true),
            (some, (1_000, 110), false),
            (some, (1_000, 111), true),
            // Five beyond what the baseline explains.
            (some, (40, 8), false),
            (some, (40, 9), true),
            // Better.
            (some, (1_000, 3), false),
            // Too few to say, of the one or the other.
            (nothing, (19, 19), false),
            ((19, 0), (410, 410), false),
            ((20, 0), (410, 410), true),
            ((0, 0), (410, 410), false),
            // Everything failed before as well.
            ((500, 500), (500, 500), false),
            // Refused ones that were never opened.
            (nothing, (0, 30), true),
            // Nonsense of a foreign annotation stays within bounds.
            ((u64::MAX, u64::MAX), (u64::MAX, u64::MAX), false),
            ((u64::MAX, 0), (u64::MAX, u64::MAX), true),
        ];
        for ((tried, failed), (new, new_failed), expected) in rows {
            let (before, now) = (of(tried, failed), of(new, new_failed));
            assert_eq!(is_worse(before, now, LIMIT), expected, "{before} to {now}");
        }
    }

    #[test]
    fn the_limit_is_what_was_asked_for() {
        let before = of(1_000, 0);
        for (limit, failed, expected) in [
            (0, 5, true),
            (5, 6, true),
            (5, 5, false),
            (999, 1_000, true),
            (1_000, 1_000, false),
        ] {
            let now = of(1_000, failed);
            assert_eq!(
                is_worse(before, now, Permille(limit)),
                expected,
                "{limit}: {now}"
            );
        }
    }

    #[test]
    fn only_what_goes_on_at_a_second_look_is_held_against_a_release() {
        let before = of(9_120, 9);
        let rows = [
            (None, of(400, 0), Ruling::Well),
            (None, of(400, 40), Ruling::Doubtful),
            // The look before was a good one: this is the first that is not.
            (Some(of(400, 0)), of(800, 40), Ruling::Doubtful),
            (Some(of(400, 40)), of(500, 50), Ruling::Worse),
            // It is over.
            (Some(of(400, 40)), of(500, 40), Ruling::Well),
            (Some(of(400, 40)), of(2_400, 42), Ruling::Well),
            // Nobody has asked since.
            (Some(of(400, 40)), of(400, 40), Ruling::Well),
            // Few since, and some of them failed.
            (Some(of(400, 40)), of(403, 41), Ruling::Worse),
        ];
        for (earlier, now, expected) in rows {
            assert_eq!(
                rule(before, earlier, now, LIMIT),
                expected,
                "{earlier:?} to {now}"
            );
        }
    }

    #[test]
    fn a_baseline_is_of_one_revision_and_what_cannot_be_read_is_none() {
        let node = |text: &str| Node {
            annotations: [(names::BASELINE_ANNOTATION.to_owned(), text.to_owned())].into(),
            ..Node::default()
        };
        let counted = of(9_120, 9);
        let text = written("1-7-0-abcdef", counted).unwrap();
        assert_eq!(text, r#"{"to":"1-7-0-abcdef","tried":9120,"failed":9}"#);
        assert_eq!(read(&node(&text), "1-7-0-abcdef"), Some(counted));
        assert_eq!(read(&node(&text), "1-8-0-abcdef"), None);
        assert_eq!(read(&Node::default(), "1-7-0-abcdef"), None);
        for text in [
            "",
            "9120",
            "{}",
            "\u{0}",
            r#"{"to":"1-7-0-abcdef","tried":-1,"failed":9}"#,
            "[[[[[[",
        ] {
            assert_eq!(read(&node(text), "1-7-0-abcdef"), None, "{text}");
        }
    }
}
