//! A member on its way out: the stages of `leave`, carried out.

use jiff::Timestamp;
use tracing::info;

use super::error::Error;
use super::pass::{Operator, Seen, earlier};
use super::rendered::Rendered;
use super::{authority, check, execute, survey, sweep};
use crate::api::conditions::{Reason, Step};
use crate::catalogue::Component;
use crate::leave::{self, Leave, Terms};
use crate::names;
use crate::plan::{self, Phase};
use crate::preflight;
use crate::status::{Outcome, Problem, Progress, Work};

impl Operator {
    /// True when the member has left.
    pub(super) async fn leave(
        &mut self,
        seen: &Seen<'_>,
        outcome: &mut Outcome,
        next: &mut Option<Timestamp>,
    ) -> Result<bool, Error> {
        if !execute::has_finalizer(seen.member) {
            return Ok(true);
        }
        Error::unlisted(seen.facts)?;
        let network = self.network(seen);
        let is_default = seen.member.spec.effective_network() == names::DEFAULT_NETWORK;
        let is_known = network.is_some() || is_default;
        let network = network.map(|network| network.spec).unwrap_or_default();
        let heading = self.resolve(seen, &network, false, outcome, next)?;
        if let Some(heading) = &heading
            && !self.watches_late(seen.facts, &heading.targets.target)
        {
            return Ok(false);
        }
        let rival = outcome
            .findings
            .iter()
            .any(|finding| finding.code == preflight::Code::ClusterAlreadyMember);
        let owns = seen
            .facts
            .objects
            .values()
            .any(|live| live.label(names::MEMBER_LABEL) == Some(seen.name.as_str()));
        let begun = self.leaving.remove(&seen.name).or_else(|| {
            let status = self.reporter.newest(seen.member).status?;
            status.leave.as_ref().map(leave::Progress::read)
        });
        let leaving = owns || begun.is_some();
        if rival || !(leaving || authority::is_there(&self.client, &seen.name).await?) {
            // Another member stands for this cluster, or nothing was ever installed.
            execute::remove_finalizer(&self.client, seen.member).await?;
            return Ok(true);
        }
        let terms = Terms {
            policy: seen.member.spec.effective_leave_policy(),
            check: self.check(seen, outcome),
        };
        let mut progress = begun.unwrap_or_default();
        let decided = leave::plan(seen.facts, &terms, seen.membership, &mut progress, seen.now);
        let left = progress.left.clone();
        outcome.leave = Some(progress.write());
        self.leaving.insert(seen.name.clone(), progress);
        outcome.findings.clear();
        match decided {
            Leave::Blocked(problem) => {
                outcome.leave_blocked = Some(problem);
                if let Some(heading) = heading.filter(|_| is_known) {
                    outcome.components = Some(survey::components(
                        seen.facts,
                        &heading.targets.target,
                        &mut self.absences,
                        seen.now,
                    ));
                    let phase = if seen.member.running_version().is_some() {
                        Phase::Installed
                    } else {
                        Phase::Installing
                    };
                    self.definitions().await?;
                    self.proceed(seen, &heading, phase, outcome, next).await?;
                }
                Ok(false)
            }
            Leave::Going(plan) => {
                earlier(next, plan.again_at);
                outcome.progress = Progress::Working(Work {
                    step: Step::Leave,
                    wait: plan.wait.clone(),
                    to: None,
                    revision: None,
                    nodes: None,
                });
                if !left.is_empty() {
                    outcome.leave_blocked = Some(Problem {
                        reason: Reason::Leftovers,
                        message: format!("went on without waiting longer: {}", left.join("; ")),
                    });
                }
                for act in &plan.acts {
                    self.act_of_leave(act).await?;
                }
                Ok(false)
            }
            Leave::Sweep => {
                outcome.progress = Progress::Working(Work {
                    step: Step::Leave,
                    wait: None,
                    to: None,
                    revision: None,
                    nodes: None,
                });
                sweep::sweep(&self.client, seen.facts).await?;
                self.delete_copy().await?;
                if let Some(progress) = self.leaving.get_mut(&seen.name) {
                    progress.swept = true;
                    outcome.leave = Some(progress.write());
                }
                self.world.wake.notify_one();
                Ok(false)
            }
            Leave::Done => {
                info!(member = seen.name, left = left.join("; "), "left");
                if !left.is_empty() {
                    self.reporter.leftovers(seen.member, &left).await;
                }
                execute::remove_finalizer(&self.client, seen.member).await?;
                self.leaving.remove(&seen.name);
                self.targets.remove(&seen.name);
                Ok(true)
            }
        }
    }

    /// The pods that look at nodes on the way out.
    fn check(&self, seen: &Seen<'_>, outcome: &Outcome) -> Option<plan::Object> {
        let running = seen
            .member
            .running_version()
            .and_then(|text| text.parse().ok());
        let release = running
            .and_then(|running| seen.catalogue.get(running))
            .or_else(|| {
                outcome
                    .resolution
                    .as_ref()
                    .and_then(|resolution| resolution.as_ref().ok())
                    .map(|resolution| &resolution.release)
            })?;
        let registry = seen
            .member
            .spec
            .images
            .as_ref()
            .and_then(|images| images.registry.as_deref());
        let image = release.image(Component::Applink, registry);
        let platform = self
            .targets
            .get(&seen.name)
            .and_then(Rendered::blueprint)
            .map(|blueprint| blueprint.platform)
            .unwrap_or_default();
        Some(check::object(&seen.name, &image, platform))
    }
}
