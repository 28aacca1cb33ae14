//! The operator's own probe, carried out: its pods are created, and asked.

use jiff::{SignedDuration, Timestamp};
use tracing::{info, warn};

use super::apply;
use super::error::Error;
use super::pass::Operator;
use super::signals::Signals;
use crate::facts::{Evidence, Facts, ProbePod, Tally};
use crate::plan::Object;
use crate::probe::Figures;

/// How long what the API server did not take is not tried again.
const AGAIN: SignedDuration = SignedDuration::from_mins(1);

impl Operator {
    /// Creates a pod of the probe. One that the API server does not take is no reason not to go on: that is remembered,
    /// and told where it matters.
    pub(super) async fn place(&mut self, object: &Object) -> Result<(), Error> {
        info!(object = %object.key, "placing a pod of the probe");
        self.metrics.act("place");
        match apply::object(&self.client, object, false).await {
            Ok(_) => Ok(()),
            Err(error) if is_no(&error) => {
                let why = super::chain(&error);
                warn!(object = %object.key, why, "the probe cannot be placed");
                let name = object.key.name.clone();
                self.refused.insert(name, (Timestamp::now(), why));
                // Nothing else tells of it.
                self.world.wake.notify_one();
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Says which pods of the probe are not to be tried again yet.
    pub(super) fn recall_refused(&mut self, facts: &mut Facts, now: Timestamp) {
        self.refused
            .retain(|_, (at, _)| now.duration_since(*at) < AGAIN);
        let all = self.refused.iter();
        facts.refused_probes = all
            .map(|(name, (_, why))| (name.clone(), why.clone()))
            .collect();
    }
}

/// The API server has answered, and not taken it.
fn is_no(error: &Error) -> bool {
    match error {
        Error::Foreign { .. } => true,
        Error::Request { source, .. } => {
            matches!(source, kube::Error::Api(status) if !matches!(status.code, 409 | 429))
        }
        _ => false,
    }
}

/// Whether new connections between a pod of the probe and its first peer go through, both ways. Where those between its
/// peers do not either, nothing is known.
pub async fn probe(signals: &dyn Signals, pods: &[ProbePod; 3]) -> Result<Evidence, String> {
    let [own, first, second] = pods;
    let (there, back, between) = tokio::join!(
        signals.connections(&own.pod, &first.address),
        signals.connections(&first.pod, &own.address),
        signals.connections(&first.pod, &second.address),
    );
    judge([(own, first, there?), (first, own, back?)], between)
}

/// Who asked whom, and what came of it.
type Way<'a> = (&'a ProbePod, &'a ProbePod, Figures);

fn judge(ways: [Way<'_>; 2], between: Result<Figures, String>) -> Result<Evidence, String> {
    let (mut asked, mut failed, mut last) = (0_u32, 0_u32, None);
    for (from, to, figures) in ways {
        asked = asked.saturating_add(figures.asked);
        failed = failed.saturating_add(figures.failed);
        if figures.failed > 0 {
            let why = figures.last.unwrap_or_default();
            last = Some(format!(
                "from node {} to node {}: {why}",
                from.node, to.node
            ));
        }
    }
    let tally = |all: u32| usize::try_from(all).unwrap_or(usize::MAX);
    let tally = Some(Tally::of(tally(asked.saturating_sub(failed)), tally(asked)));
    let Some(last) = last.filter(|_| asked > 0) else {
        return Ok(Evidence {
            good: asked > 0,
            text: format!("{asked} new connections went through"),
            tally,
            ..Evidence::default()
        });
    };
    let text = format!("{failed} of {asked} connections failed, last: {last}");
    let between = between?;
    if between.failed > 0 {
        return Err(format!(
            "{text}; but of those between its peers {} of {} failed as well",
            between.failed, between.asked
        ));
    }
    Ok(Evidence {
        good: false,
        text,
        tally,
        ..Evidence::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(node: &str) -> ProbePod {
        ProbePod {
            pod: format!("node-{node}"),
            uid: "u".to_owned(),
            address: "10.0.0.1".to_owned(),
            node: node.to_owned(),
        }
    }

    fn figures(failed: u32) -> Figures {
        Figures {
            asked: 10,
            failed,
            last: (failed > 0).then(|| "refused".to_owned()),
        }
    }

    fn told(there: u32, back: u32, between: Result<Figures, String>) -> Result<Evidence, String> {
        let (a, b) = (on("a"), on("b"));
        judge([(&a, &b, figures(there)), (&b, &a, figures(back))], between)
    }

    #[test]
    fn one_failure_either_way_is_one_too_many_and_is_told_with_the_numbers() {
        let well = told(0, 0, Ok(figures(0))).unwrap();
        assert_eq!(
            (well.good, &*well.text),
            (true, "20 new connections went through")
        );
        let text = "1 of 20 connections failed, last: from node a to node b: refused";
        let there = told(1, 0, Ok(figures(0))).unwrap();
        assert_eq!((there.good, &*there.text), (false, text));
        let back = told(0, 3, Ok(figures(0))).unwrap();
        assert!(!back.good && back.text.contains("3 of 20"), "{}", back.text);
    }

    #[test]
    fn where_nobody_is_let_through_nothing_is_known_of_the_node() {
        let error = told(10, 10, Ok(figures(10))).unwrap_err();
        assert!(
            error.contains("between its peers 10 of 10 failed as well"),
            "{error}"
        );
        assert!(told(10, 0, Err("no answer".to_owned())).is_err());
        // What goes through does not depend on what others can do.
        assert!(told(0, 0, Ok(figures(10))).unwrap().good);
    }
}
