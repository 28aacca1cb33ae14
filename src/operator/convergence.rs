//! Brings a member's cluster to what its spec asks for: one plan, carried out as far as it goes.

use std::sync::Arc;

use jiff::Timestamp;
use tracing::{debug, warn};

use super::error::Error;
use super::heading::Heading;
use super::pass::{Operator, Seen, earlier};
use super::world::{ATTACHMENT_KIND, Late};
use super::{execute, survey};
use crate::api::conditions::{Reason, Step};
use crate::api::v1alpha1::{FailedRelease, MembershipStatus, OnFailure};
use crate::decide::{self, Flight};
use crate::facts::{Connections, Facts};
use crate::names;
use crate::plan::{self, Orders, Phase, Plan, Target};
use crate::preflight;
use crate::status::{Ending, Failure, Outcome, Problem, Progress, Rollout, Settled, Work};

impl Operator {
    /// Looks, decides and acts for a member that stays.
    pub(super) async fn converge(
        &mut self,
        seen: &Seen<'_>,
        outcome: &mut Outcome,
        next: &mut Option<Timestamp>,
    ) -> Result<(), Error> {
        let network_name = seen.member.spec.effective_network().to_owned();
        let network = self.network(seen);
        let is_default = network_name == names::DEFAULT_NETWORK;
        // Without it nobody knows what the mesh is to be: what runs stays.
        let is_lost = network.is_none() && !is_default;
        if is_lost {
            outcome.invalid = Some(Problem {
                reason: Reason::ReferenceNotResolved,
                message: format!(
                    "ApplicationNetwork {network_name} does not exist: create it, or leave spec.applicationNetwork out for the default one"
                ),
            });
        }
        let spec = network
            .as_ref()
            .map(|network| network.spec.clone())
            .unwrap_or_default();
        let heading = self.resolve(seen, &spec, !is_lost, outcome, next)?;
        let installed = seen.member.running_version().is_some();
        let phase = if installed {
            Phase::Installed
        } else {
            Phase::Installing
        };
        // Where a mesh runs is known from what runs: there it is kept, whatever the spec says.
        let is_kept = installed && plan::placement(seen.facts).is_some();
        let blocks = preflight::stops(&outcome.findings, installed) && !is_kept;
        // A target that is not gone for is no measure of what runs.
        if let Some(heading) = heading
            .as_ref()
            .filter(|_| !(is_lost || blocks && installed))
        {
            outcome.components = Some(survey::components(
                seen.facts,
                &heading.targets.target,
                &mut self.absences,
                seen.now,
            ));
            earlier(next, self.absences.next_look(seen.now));
        }
        let rival = outcome
            .findings
            .iter()
            .any(|finding| finding.code == preflight::Code::ClusterAlreadyMember);
        if rival {
            // They are the other's: with them in its status, the policy that keeps a member would keep this one, too.
            outcome.membership = Some(MembershipStatus::default());
        }
        let (Some(heading), false, None, false) = (heading, blocks, &outcome.invalid, rival) else {
            outcome.progress = Progress::Working(Work {
                step: Step::Preflight,
                wait: None,
                to: outcome
                    .resolution
                    .as_ref()
                    .and_then(|resolution| resolution.as_ref().ok())
                    .map(|resolution| resolution.release.version),
                revision: None,
                nodes: None,
            });
            return Ok(());
        };
        Error::unlisted(seen.facts)?;
        if heading.is_new {
            // It is written down with this pass; the next one acts on it, whoever makes it.
            if outcome.steering.begins.is_some() {
                outcome.progress = Progress::Working(begun(outcome));
            }
            earlier(next, Some(seen.now));
            return Ok(());
        }
        let target = Arc::clone(&heading.targets.target);
        // From here on something of ours may be in the cluster.
        execute::add_finalizer(&self.client, seen.member).await?;
        if network.is_none() {
            execute::make_network(&self.client, &network_name).await?;
        }
        let stalled = self
            .trust(seen, &network_name, network.as_ref(), outcome)
            .await?;
        if stalled && !installed {
            outcome.progress = working(&Plan::new(Step::ControlPlane), &target);
            return Ok(());
        }
        self.copy_pull_secrets(seen).await?;
        self.definitions().await?;
        if !self.watches_late(seen.facts, &target) {
            // What is there wakes us.
            return Ok(());
        }
        self.proceed(seen, &heading, phase, outcome, next).await
    }

    /// Plans towards where the member goes, carries it out and says where it stands.
    pub(super) async fn proceed(
        &mut self,
        seen: &Seen<'_>,
        heading: &Heading,
        phase: Phase,
        outcome: &mut Outcome,
        next: &mut Option<Timestamp>,
    ) -> Result<(), Error> {
        let Heading {
            targets, orders, ..
        } = heading;
        let target = &targets.target;
        let bundle = self.bundle.clone().unwrap_or_default();
        let plan = plan::plan(seen.facts, targets, orders, &bundle, phase, seen.now);
        earlier(next, plan.again_at);
        self.unproved.retain(|_| plan.is_rolling);
        for (node, why) in &plan.unproved {
            if self.unproved.insert(node.clone()) {
                warn!(node, why, "a gate cannot tell of this node");
            }
        }
        let settings = decide::settings(&seen.member.spec).unwrap_or_default();
        outcome.rollout = rollout(&plan, orders, target, settings);
        let halts = outcome.rollout.halted.is_some() && orders.halted.is_none();
        let is_new = outcome.rollout.failed.is_some() || halts;
        if let (Some(failed), true) = (&plan.failed, is_new) {
            self.metrics.gate_failed(failed.gate.to_string());
        }
        self.tell(seen, heading, &plan, phase, outcome);
        if outcome.rollout.ended.is_some() {
            // There may be another hop, or something else to be done.
            earlier(next, Some(seen.now));
        }
        for question in &heading.questions {
            self.ask(question, target);
        }
        for act in &plan.acts {
            self.act(act, seen.facts, target).await?;
            if phase == Phase::Installed
                && let Some(note) = plan::restored(act, seen.facts)
            {
                self.reporter.restored(seen.member, note).await;
            }
        }
        if matches!(outcome.progress, Progress::Settled { .. }) {
            // Pods of the template before may need it until then.
            self.drop_pull_secrets(seen).await?;
        }
        Ok(())
    }

    /// How far a plan has come.
    fn tell(
        &self,
        seen: &Seen<'_>,
        heading: &Heading,
        plan: &Plan,
        phase: Phase,
        outcome: &mut Outcome,
    ) {
        let target = &heading.targets.target;
        let is_done = plan.done && plan.acts.is_empty();
        let (is_settled, at) = match &heading.flight {
            None => (
                is_done || phase == Phase::Installed && !plan.is_rolling,
                target,
            ),
            Some(flight) if is_done => {
                outcome.rollout.ended = Some(ending(flight, heading, plan));
                (true, heading.targets.left(plan))
            }
            Some(_) => (false, target),
        };
        outcome.progress = if is_settled {
            if !plan.is_held && is_done {
                let settings = decide::settings(&seen.member.spec).unwrap_or_default();
                outcome.steering.settled = Some(Settled {
                    hash: target.proxy_hash.clone(),
                    settings,
                    images: heading.images.clone(),
                });
            }
            Progress::Settled {
                version: at.version,
                istio: at.istio,
            }
        } else {
            let mut progress = working(plan, target);
            let begun = heading.flight.as_ref().and_then(|one| one.revision.clone());
            // What goes back stays what it was, whatever would be rendered now.
            if let (Progress::Working(work), Some(begun), Some(_)) =
                (&mut progress, begun, &heading.orders.failed)
            {
                work.revision = Some(begun);
            }
            progress
        };
        if let Some(wait) = plan
            .wait
            .as_ref()
            .filter(|wait| wait.reason == Reason::ImageUnavailable && heading.flight.is_none())
        {
            outcome.failure = Some(Failure {
                reason: Reason::ImageUnavailable,
                message: format!(
                    "{}: {}; check spec.images, the registry and its pull secrets",
                    wait.object, wait.message
                ),
                is_terminal: true,
            });
        }
    }

    /// Watches what of this target not every cluster serves. False until what is there has been seen: else it would be
    /// applied as if it were missing.
    pub(super) fn watches_late(&mut self, facts: &Facts, target: &Target) -> bool {
        let is_served = facts
            .definitions
            .get("peerauthentications.security.istio.io")
            .is_some_and(|definition| definition.established);
        let attaches = target
            .agent
            .iter()
            .any(|object| object.key.kind == ATTACHMENT_KIND.2);
        let wanted = [
            // Also where none is wanted: one that the network asks for no longer goes.
            (is_served, Late::Policy),
            (attaches, Late::Attachment),
        ];
        let mut all = true;
        for (_, late) in wanted.into_iter().filter(|(is_wanted, _)| *is_wanted) {
            all &= self.world.watch_late(late, &self.client, &mut self.tasks);
        }
        all
    }
}

fn working(plan: &Plan, target: &Target) -> Progress {
    debug!(step = %plan.step, acts = plan.acts.len(), "planned");
    Progress::Working(Work {
        step: plan.step,
        wait: plan.wait.clone(),
        to: Some(target.version),
        revision: Some(target.revision.to_string()),
        nodes: plan.nodes.clone(),
    })
}

/// What is told of a rollout that begins with this pass.
fn begun(outcome: &Outcome) -> Work {
    let begins = outcome.steering.begins.as_ref();
    Work {
        step: Step::Preflight,
        wait: None,
        to: begins.map(|begins| begins.to),
        revision: begins.map(|begins| begins.revision.clone()),
        nodes: None,
    }
}

/// How a rollout has ended whose plan has nothing left to do.
fn ending(flight: &Flight, heading: &Heading, plan: &Plan) -> Ending {
    match (plan.is_held, &flight.returns, &heading.orders.failed) {
        (false, ..) => Ending::Succeeded,
        (true, Some(reason), _) => Ending::Aborted {
            reason: reason.clone(),
        },
        (true, None, reason) => Ending::RolledBack {
            reason: reason.clone().unwrap_or_default(),
        },
    }
}

/// What status says of a rollout beyond its progress.
fn rollout(plan: &Plan, orders: &Orders, target: &Target, settings: String) -> Rollout {
    let is_rollback = orders.strategy.on_failure == OnFailure::Rollback;
    let failed = plan
        .failed
        .as_ref()
        .filter(|_| is_rollback)
        .map(|failed| FailedRelease {
            version: target.version.to_string(),
            hash: target.proxy_hash.clone(),
            reason: failed.to_string(),
            ..FailedRelease::default()
        });
    Rollout {
        wave: plan.wave,
        revertible: plan.is_rolling.then_some(plan.is_revertible),
        // As its revision, see `tell`.
        template: (plan.is_rolling && orders.failed.is_none())
            .then(|| (target.proxy_hash.clone(), settings)),
        failed,
        compared: plan.compared.iter().copied().max_by(|one, other| {
            let increase =
                |(before, now): &(Connections, Connections)| now.ratio() - before.ratio();
            increase(one).total_cmp(&increase(other))
        }),
        halted: (plan.failed.as_ref())
            .filter(|_| !is_rollback)
            .map(ToString::to_string),
        watched_until: plan.watched_until,
        ended: None,
    }
}
