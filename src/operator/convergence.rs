//! Brings a member's cluster to what its spec asks for: one plan, carried out as far as it goes.

use std::sync::Arc;

use jiff::Timestamp;
use tracing::debug;

use super::error::Error;
use super::pass::{Operator, Seen, earlier};
use super::world::{ATTACHMENT_KIND, Late};
use super::{execute, survey};
use crate::api::conditions::{Reason, Step};
use crate::api::v1alpha1::{FailedRelease, OnFailure};
use crate::facts::Facts;
use crate::names;
use crate::plan::{self, Orders, Phase, Plan, Target, Targets};
use crate::preflight;
use crate::status::{Failure, Outcome, Problem, Progress, Rollout, Work};

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
        if network.is_none() && !is_default {
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
        let target = self.resolve(seen, &spec, outcome)?;
        let installed = seen.member.running_version().is_some();
        let phase = if installed {
            Phase::Installed
        } else {
            Phase::Installing
        };
        let blocks = preflight::stops(&outcome.findings, installed);
        // A target that is not gone for is no measure of what runs.
        if let Some(target) = target.as_ref().filter(|_| !(blocks && installed)) {
            outcome.components = Some(survey::components(
                seen.facts,
                target,
                &mut self.absences,
                seen.now,
            ));
            earlier(next, self.absences.next_look(seen.now));
        }
        let rival = outcome
            .findings
            .iter()
            .any(|finding| finding.code == preflight::Code::ClusterAlreadyMember);
        let (Some(target), false, None, false) = (target, blocks, &outcome.invalid, rival) else {
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
        let bundle = self.bundle.clone().unwrap_or_default();
        let orders = Orders::of(&self.reporter.newest(seen.member), &target);
        let targets = Targets::one(target.clone());
        let plan = plan::plan(seen.facts, &targets, &orders, &bundle, phase, seen.now);
        outcome.rollout = rollout(&plan, &orders, &target);
        self.carry_out(seen, &target, plan, outcome, next).await
    }

    /// Carries out a plan and says where it stands.
    pub(super) async fn carry_out(
        &mut self,
        seen: &Seen<'_>,
        target: &Arc<Target>,
        plan: Plan,
        outcome: &mut Outcome,
        next: &mut Option<Timestamp>,
    ) -> Result<(), Error> {
        let installed = seen.member.running_version().is_some();
        earlier(next, plan.again_at);
        outcome.progress = if plan.done && plan.acts.is_empty() || installed && !plan.is_rolling {
            Progress::Settled {
                version: target.version,
                istio: target.istio,
            }
        } else {
            working(&plan, target)
        };
        if let Some(wait) = plan
            .wait
            .as_ref()
            .filter(|wait| wait.reason == Reason::ImageUnavailable)
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
        for act in &plan.acts {
            self.act(act, seen.facts, target).await?;
            if installed && let Some(note) = plan::restored(act, seen.facts) {
                self.reporter.restored(seen.member, note).await;
            }
        }
        if matches!(outcome.progress, Progress::Settled { .. }) {
            // Pods of the template before may need it until then.
            self.drop_pull_secrets(seen).await?;
        }
        Ok(())
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
            (is_served && !target.policy.is_empty(), Late::Policy),
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

/// What status says of a rollout beyond its progress.
fn rollout(plan: &Plan, orders: &Orders, target: &Target) -> Rollout {
    let failed = plan
        .failed
        .as_ref()
        .filter(|_| orders.strategy.on_failure == OnFailure::Rollback)
        .map(|failed| FailedRelease {
            version: target.version.to_string(),
            hash: target.proxy_hash.clone(),
            reason: failed.to_string(),
            at: None,
        });
    Rollout {
        wave: plan.wave,
        revertible: plan.is_rolling.then_some(plan.is_revertible),
        failed,
        held: orders.failed.clone().filter(|_| plan.is_held),
        paused: orders.paused && plan.is_rolling,
    }
}
