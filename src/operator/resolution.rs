//! From a member's spec to what is to run: release, platform, checks, blueprint, target.

use std::sync::Arc;

use tracing::info;

use super::error::Error;
use super::pass::{Operator, Seen};
use super::survey;
use crate::api::conditions::Reason;
use crate::api::v1alpha1::{ApplicationNetworkSpec, PlatformStatus};
use crate::blueprint::resolve::{Surroundings, blueprint};
use crate::catalogue::{self, Minor, Release, Resolution};
use crate::names;
use crate::plan::Target;
use crate::platform;
use crate::preflight;
use crate::status::{Outcome, Problem};

impl Operator {
    /// Resolves the spec and looks at the cluster. What can be told without acting is told in the outcome.
    pub(super) fn resolve(
        &mut self,
        seen: &Seen<'_>,
        network: &ApplicationNetworkSpec,
        outcome: &mut Outcome,
    ) -> Result<Option<Arc<Target>>, Error> {
        let Some(kubernetes) = Minor::of_kubernetes(&seen.facts.server_version) else {
            outcome.findings = preflight::check(
                &survey::cluster(seen.facts, seen.membership, Vec::new()),
                seen.member,
                None,
            );
            return Ok(None);
        };
        let running = seen
            .member
            .running_version()
            .and_then(|text| text.parse().ok());
        let resolution = catalogue::resolve(
            seen.member.spec.upgrade.as_ref(),
            running,
            seen.catalogue,
            kubernetes,
            seen.now,
        );
        let detection = platform::detect(
            &survey::evidence(seen.facts),
            seen.member
                .spec
                .data_plane
                .as_ref()
                .and_then(|plane| plane.platform),
        );
        outcome.platform = Some(PlatformStatus {
            name: detection.platform.to_string(),
            evidence: detection.evidence.clone(),
        });
        // What runs stays until it can be moved; only the first install follows what the spec resolves to.
        let release: Option<Release> = running
            .and_then(|running| seen.catalogue.get(running).cloned())
            .or_else(|| {
                resolution
                    .as_ref()
                    .ok()
                    .map(|resolution: &Resolution| resolution.release.clone())
            });
        if let Some(running) = running {
            outcome.available_upgrades = Some(
                seen.catalogue
                    .available_upgrades(running, kubernetes, seen.now),
            );
        }
        outcome.resolution = Some(resolution);
        outcome.findings = preflight::check(
            &survey::cluster(
                seen.facts,
                seen.membership,
                survey::rivals(seen.member, seen.members.iter()),
            ),
            seen.member,
            release.as_ref(),
        );
        let Some(release) = release else {
            return Ok(None);
        };
        let surroundings = Surroundings {
            platform: detection.platform,
            families: survey::families(seen.facts),
            autoscaler_least: seen
                .facts
                .autoscaled
                .get(&format!("{}-{}", names::ISTIOD, release.version.dashed()))
                .copied(),
            ..Surroundings::default()
        };
        let made = match blueprint(seen.member, network, &release, &surroundings) {
            Ok(made) => made,
            Err(error) => {
                outcome.invalid = Some(Problem {
                    reason: Reason::InvalidSpec,
                    message: error.to_string(),
                });
                return Ok(None);
            }
        };
        if let Some((known, target)) = self.targets.get(&seen.name)
            && *known == made
        {
            return Ok(Some(Arc::clone(target)));
        }
        let target = Arc::new(Target::of(&made)?);
        info!(member = seen.name, revision = %target.revision, "rendered");
        self.targets
            .insert(seen.name.clone(), (made, Arc::clone(&target)));
        Ok(Some(target))
    }
}
