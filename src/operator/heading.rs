//! From a member's spec and what its status remembers to where it goes in this pass: release, checks, target, orders.
//!
//! What is decided is written down before it is done: a pass that begins a rollout, or turns one round, ends with its
//! status, and the next one acts on it. So whoever takes over finds it there.

use std::sync::Arc;

use jiff::Timestamp;
use tracing::{debug, info};

use super::error::Error;
use super::ground::Ground;
use super::pass::{Operator, Seen, earlier};
use super::survey;
use crate::api::conditions::Reason;
use crate::api::v1alpha1::{ApplicationNetworkSpec, FailedRelease, OnFailure};
use crate::blueprint::resolve::{Surroundings, blueprint};
use crate::catalogue::{Minor, Release, Version};
use crate::decide::{
    self, Course, Decision, Flight, Hold, Move, Requests, Rest, Sources, Template,
};
use crate::facts::{Facts, Question};
use crate::names;
use crate::plan::{self, Orders, Target, Targets};
use crate::preflight::{self, Severity};
use crate::status::{Beginning, Judgement, Outcome, Problem, Steering};

/// Where a member goes in this pass.
pub struct Heading {
    /// What is to run, and what runs.
    pub targets: Targets,
    /// How to get there, and whether to.
    pub orders: Orders,
    /// The rollout that is on the way.
    pub flight: Option<Flight>,
    /// Fingerprint of the images of the target's release.
    pub images: String,
    /// What is to be asked before it is known where the mesh may leave.
    pub questions: Vec<Question>,
    /// Something was decided that is to be written down before anything is done.
    pub is_new: bool,
}

impl Heading {
    fn on(target: &Arc<Target>, seen: &Seen<'_>) -> Self {
        Self {
            orders: Orders::of(seen.member, target),
            targets: Targets::one(Arc::clone(target)),
            flight: None,
            images: String::new(),
            questions: Vec::new(),
            is_new: false,
        }
    }
}

impl Operator {
    /// Looks at the cluster, decides, and renders what is to run. What can be told without acting is told in the outcome.
    /// `may_move` is false for a member that leaves: what is on the way goes on, nothing begins.
    pub(super) fn resolve(
        &mut self,
        seen: &Seen<'_>,
        network: &ApplicationNetworkSpec,
        may_move: bool,
        outcome: &mut Outcome,
        next: &mut Option<Timestamp>,
    ) -> Result<Option<Heading>, Error> {
        let Some(kubernetes) = Minor::of_kubernetes(&seen.facts.server_version) else {
            outcome.findings = preflight::check(
                &survey::cluster(seen.facts, seen.membership, Vec::new()),
                seen.member,
                None,
            );
            return Ok(None);
        };
        let mut ground = Ground::read(seen, network, kubernetes, outcome);
        outcome.steering.follows = (!ground.follows.is_empty()).then(|| ground.follows.clone());
        outcome.resolution = Some(ground.resolution.clone());
        outcome.steering.withdrawals =
            Some(ground.catalogue.withdrawals(&ground.status.withdrawals));
        outcome.steering.end_of_life = ground
            .running()
            .and_then(|running| ground.release(running)?.ends());
        let flight = Flight::of(&ground.status);
        let requests = Requests::of(
            seen.member.metadata.annotations.as_ref(),
            &ground.status.handled_requests,
        );
        outcome.steering.requests = requests.handled();
        if requests.retry.is_some() {
            outcome.steering.retries = true;
            ground.failed.clear();
            self.asked.forget_counts();
        }
        let heading = match (ground.running(), flight) {
            (None, _) => self.install(&ground, outcome)?,
            (Some(_), Some(flight)) => self.fly(&ground, flight, &requests, outcome, next)?,
            (Some(running), None) => self.rest(&ground, running, may_move, outcome, next)?,
        };
        let Some(mut heading) = heading else {
            return Ok(None);
        };
        let wanted = [
            Some(heading.targets.target.version),
            ground.running(),
            ground
                .status
                .version
                .as_ref()
                .and_then(|known| known.previous.as_deref()?.parse().ok()),
        ];
        let begins = outcome.steering.begins.as_ref().map(|begins| begins.to);
        outcome.steering.releases = Some(decide::known_releases(
            &ground.catalogue,
            &ground.status.releases,
            begins.into_iter().chain(wanted.into_iter().flatten()),
        ));
        let kept: Vec<Version> = begins
            .into_iter()
            .chain(ground.running())
            .chain([heading.targets.target.version])
            .collect();
        if let Some(rendered) = self.targets.get_mut(&seen.name) {
            rendered.keep(&kept);
        }
        heading.images = (ground.release(heading.targets.target.version))
            .map(|release| images(&release))
            .unwrap_or_default();
        earlier(next, ground.left_out.again_at);
        heading.questions = std::mem::take(&mut ground.left_out.questions);
        heading.is_new = requests != Requests::default()
            || begins.is_some()
            || outcome.steering.returns.is_some()
            || outcome.steering.given_up.is_some();
        Ok(Some(heading))
    }

    /// Nothing runs yet: what the spec means is installed, and stays what is installed until the spec means something else.
    fn install(
        &mut self,
        ground: &Ground<'_>,
        outcome: &mut Outcome,
    ) -> Result<Option<Heading>, Error> {
        if let Err(fault) = &ground.calendar {
            outcome.steering.refusal = Some(problem(&decide::Refusal::from(fault.clone())));
        }
        let Ok(resolution) = &ground.resolution else {
            ground.check(None, outcome);
            return Ok(None);
        };
        let begun = ground.status.rollout.as_ref().and_then(|rollout| {
            let is_same = rollout.follows.as_deref() == Some(ground.follows.as_str());
            let to = rollout.to.as_deref()?.parse().ok()?;
            ground
                .release(to)
                .filter(|release| is_same && release.withdrawn.is_none())
        });
        let release = begun.unwrap_or_else(|| resolution.release.clone());
        ground.check(Some(&release), outcome);
        if outcome.steering.refusal.is_some() {
            return Ok(None);
        }
        let target = self.render(ground, &release, outcome)?;
        Ok(target.map(|target| Heading::on(&target, ground.seen)))
    }

    /// A rollout is on the way.
    fn fly(
        &mut self,
        ground: &Ground<'_>,
        mut flight: Flight,
        requests: &Requests,
        outcome: &mut Outcome,
        next: &mut Option<Timestamp>,
    ) -> Result<Option<Heading>, Error> {
        let refusal = match (&ground.calendar, &ground.resolution) {
            (Err(fault), _) => Some(problem(&fault.clone().into())),
            (_, Err(unresolved)) => Some(problem(&unresolved.clone().into())),
            _ => None,
        };
        outcome.steering.refusal = refusal;
        let Some(arriving) = ground.release(flight.to) else {
            outcome.steering.refusal = Some(lost(flight.to));
            ground.check(None, outcome);
            return Ok(None);
        };
        ground.check(Some(&arriving), outcome);
        let Some(mut target) = self.render(ground, &arriving, outcome)? else {
            return Ok(None);
        };
        let mut failed = None;
        let finishing = plan::is_past_return(ground.seen.facts, flight.from, flight.to);
        flight.is_revertible &= !finishing;
        if let Some(revision) = flight.stands_by(&ground.settings, finishing) {
            failed = flight.failure(&ground.status.failed_releases);
            if revision != target.revision.as_str()
                && let Some(recorded) = target.recorded(ground.seen.facts, revision)
            {
                debug!(member = ground.seen.name, revision, renders = %target.revision, "goes on with what was begun");
                target = Arc::new(recorded);
            }
        }
        let mut heading = Heading::on(&target, ground.seen);
        if let Some(why) = failed {
            heading.orders.failed.get_or_insert_with(|| why.to_owned());
        }
        if flight.from != flight.to {
            let Some(settled) = ground.release(flight.from) else {
                outcome.steering.refusal = Some(lost(flight.from));
                return Ok(None);
            };
            heading.targets.settled = self.render(ground, &settled, outcome)?;
        }
        if outcome.steering.retries {
            heading.orders.failed = None;
            heading.orders.halted = None;
        }
        let halted = heading.orders.halted.clone();
        if let Some(nonce) = &requests.abort
            && flight.is_revertible
            && flight.returns.is_none()
        {
            let mut why = format!("somebody asked for it: applink abort ({nonce})");
            if let Some(cause) = &halted {
                why = format!("{why}; it stood still at {cause}");
            }
            outcome.steering.given_up = Some(FailedRelease {
                version: flight.to.to_string(),
                hash: target.proxy_hash.clone(),
                reason: why.clone(),
                ..FailedRelease::default()
            });
            outcome.steering.returns = Some(why);
        }
        let is_back = flight.returns.is_some() || heading.orders.failed.is_some();
        if outcome.steering.returns.is_none() && !is_back {
            let situation = ground.situation(Template::Same);
            let held = match decide::course(&situation, &flight.question(&ground.follows)) {
                Course::GoOn | Course::FinishFirst(_) => None,
                Course::FinishWave { until, hold } => Some((until, hold, false)),
                Course::Stop { until, hold } => Some((until, hold, true)),
                Course::TurnBack(because) => {
                    outcome.steering.returns = Some(because.to_string());
                    None
                }
            };
            if let Some((until, hold, stops)) = held {
                heading.orders.paused = true;
                heading.orders.stops = stops;
                outcome.steering.waiting_for =
                    Some(format!("the rollout of {} waits for {hold}", flight.to));
                outcome.steering.held_up = Some(held_up(&hold));
                earlier(next, until);
            }
        } else if heading.orders.paused {
            let hold = if ground.situation(Template::Same).paused_by_annotation {
                Hold::PausedByAnnotation
            } else {
                Hold::PausedBySpec
            };
            outcome.steering.held_up = Some(held_up(&hold));
        }
        if let (Some(cause), None, false) = (halted, &outcome.steering.returns, is_back) {
            let on_failure = heading.orders.strategy.on_failure;
            stand_still(cause, on_failure, &target, &mut outcome.steering);
        }
        if let Some(why) = &outcome.steering.returns {
            flight.returns = Some(why.clone());
        }
        if let Some(why) = &flight.returns {
            heading.orders.failed.get_or_insert_with(|| why.clone());
        }
        if let Ok(calendar) = &ground.calendar {
            outcome.steering.next_window = calendar.next_opening(ground.seen.now);
        }
        heading.flight = Some(flight);
        Ok(Some(heading))
    }

    /// Nothing is on the way: stay, wait, or begin.
    fn rest(
        &mut self,
        ground: &Ground<'_>,
        running: Version,
        may_move: bool,
        outcome: &mut Outcome,
        next: &mut Option<Timestamp>,
    ) -> Result<Option<Heading>, Error> {
        let Some(release) = ground.release(running) else {
            outcome.steering.refusal = Some(lost(running));
            ground.check(None, outcome);
            return Ok(None);
        };
        let Some(target) = self.render(ground, &release, outcome)? else {
            return Ok(None);
        };
        let live = settled_template(ground.seen.facts);
        let template = decide::template(
            ground.status.version.as_ref(),
            live.as_deref(),
            &target.proxy_hash,
            Sources {
                settings: &ground.settings,
                images: &images(&release),
            },
        );
        let situation = ground.situation(template);
        let decision = decide::decide(&situation);
        let report = decide::report(&situation, &decision);
        earlier(next, report.again_at);
        outcome.available_upgrades = Some(report.available_upgrades);
        outcome.steering.waiting_for = report.waiting_for;
        outcome.steering.next_window = report.next_window;
        let (is_true, reason) = decision.up_to_date();
        outcome.steering.verdict = Some(Judgement {
            is_true,
            reason,
            message: decision.to_string(),
        });
        let mut heading = Heading::on(&target, ground.seen);
        heading.orders.held = template != Template::Same;
        match &decision {
            Decision::Stay {
                rest: Rest::Refused(refusal),
                ..
            } => outcome.steering.refusal = Some(problem(refusal)),
            Decision::Stay {
                rest: Rest::Current { .. } | Rest::Affected { .. },
                ..
            } => outcome.steering.is_reached = true,
            Decision::Move(found) if may_move => {
                ground.check(Some(&found.to), outcome);
                let mut findings = outcome.findings.iter();
                match findings.find(|finding| finding.severity == Severity::Block) {
                    Some(finding) => {
                        let why = format!("{found} waits for this to be mended: {finding}");
                        held_back(Reason::PreflightFailed, why, &mut outcome.steering);
                    }
                    None => self.begin(ground, running, found, outcome)?,
                }
                return Ok(Some(heading));
            }
            Decision::Move(found) if ground.seen.member.metadata.deletion_timestamp.is_some() => {
                let why = format!("{found} does not begin: the member leaves");
                held_back(Reason::Leaving, why, &mut outcome.steering);
            }
            _ => {}
        }
        ground.check(Some(&release), outcome);
        Ok(Some(heading))
    }

    fn begin(
        &mut self,
        ground: &Ground<'_>,
        running: Version,
        found: &Move,
        outcome: &mut Outcome,
    ) -> Result<(), Error> {
        let Some(arriving) = self.render(ground, &found.to, outcome)? else {
            return Ok(());
        };
        info!(
            member = ground.seen.name,
            from = %running,
            to = %found.to.version,
            by = found.by.as_str(),
            "begins: {found}"
        );
        outcome.steering.begins = Some(Beginning {
            from: running,
            to: found.to.version,
            revision: arriving.revision.to_string(),
            hash: arriving.proxy_hash.clone(),
            settings: ground.settings.clone(),
            follows: ground.follows.clone(),
            by: found.by.as_str(),
            why: found.to_string(),
            fixes: !found.fixes.is_empty(),
        });
        Ok(())
    }

    /// The target of a release, as the spec is now; kept while it stays the same.
    fn render(
        &mut self,
        ground: &Ground<'_>,
        release: &Release,
        outcome: &mut Outcome,
    ) -> Result<Option<Arc<Target>>, Error> {
        let seen = ground.seen;
        let surroundings = Surroundings {
            autoscaler_least: seen
                .facts
                .autoscaled
                .get(&format!("{}-{}", names::ISTIOD, release.version.dashed()))
                .copied(),
            ..ground.surroundings.clone()
        };
        let mut made = match blueprint(seen.member, ground.network, release, &surroundings) {
            Ok(made) => made,
            Err(error) => {
                outcome.invalid = Some(Problem {
                    reason: Reason::InvalidSpec,
                    message: error.to_string(),
                });
                return Ok(None);
            }
        };
        if let Some(placement) = &ground.placement {
            made.node_selector.clone_from(placement);
        }
        let rendered = self.targets.entry(seen.name.clone()).or_default();
        let (target, is_new) = rendered.target(made)?;
        if is_new {
            info!(member = seen.name, revision = %target.revision, "rendered");
        }
        Ok(Some(target))
    }
}

/// Hash of the per-node template that the cluster runs, when it runs one only.
fn settled_template(facts: &Facts) -> Option<String> {
    let mut all = facts
        .daemon_sets_with("app", names::ZTUNNEL)
        .filter(|(_, live)| !live.deleting);
    let (_, only) = all.next()?;
    if all.next().is_some() {
        return None;
    }
    only.annotation(names::TEMPLATE_HASH_ANNOTATION)
        .map(str::to_owned)
}

/// A gate has failed, and the rollout stands still; somebody may want it back by now.
fn stand_still(cause: String, on_failure: OnFailure, target: &Target, steering: &mut Steering) {
    match on_failure {
        OnFailure::Pause => {
            steering.waiting_for = Some(format!(
                "the rollout of {} waits for applink retry or applink abort",
                target.version
            ));
        }
        OnFailure::Rollback => {
            steering.given_up = Some(FailedRelease {
                version: target.version.to_string(),
                hash: target.proxy_hash.clone(),
                reason: cause,
                ..FailedRelease::default()
            });
        }
    }
}

/// A move that is due does not begin.
fn held_back(reason: Reason, why: String, steering: &mut Steering) {
    steering.waiting_for = Some(why.clone());
    steering.verdict = Some(Judgement {
        is_true: false,
        reason,
        message: why,
    });
}

fn images(release: &Release) -> String {
    decide::images(release).unwrap_or_default()
}

fn problem(refusal: &decide::Refusal) -> Problem {
    Problem {
        reason: refusal.reason(),
        message: refusal.to_string(),
    }
}

fn lost(version: Version) -> Problem {
    Problem {
        reason: Reason::UnknownVersion,
        message: format!(
            "{version} is in no catalogue, and nobody remembers what it is made of; what runs goes on, nothing can be moved: apply its MeshRelease again"
        ),
    }
}

fn held_up(hold: &Hold) -> Problem {
    Problem {
        reason: hold.reason(),
        message: match hold {
            Hold::PausedBySpec => "paused by spec.upgrade.paused".to_owned(),
            Hold::PausedByAnnotation => {
                "paused by annotation applink.dev/paused: applink resume".to_owned()
            }
            other => format!("waits for {other}"),
        },
    }
}
