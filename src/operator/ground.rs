//! What every question about a member's version goes by: its spec, what its status remembers, the catalogue as it is for
//! this member, the calendar.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::pass::Seen;
use super::survey;
use crate::api::v1alpha1::{
    ApplicationNetworkSpec, FailedRelease, MeshMemberStatus, PlatformStatus,
};
use crate::blueprint::resolve::Surroundings;
use crate::catalogue::{self, Catalogue, Minor, Release, Resolution, Version};
use crate::decide::{self, Situation, Stage, Template};
use crate::names;
use crate::plan::{self, LeftOut};
use crate::platform;
use crate::preflight;
use crate::status::Outcome;
use crate::window::{Calendar, Fault};

/// What every question about a member's version goes by.
pub(super) struct Ground<'a> {
    pub seen: &'a Seen<'a>,
    pub network: &'a ApplicationNetworkSpec,
    pub status: MeshMemberStatus,
    pub catalogue: Cow<'a, Catalogue>,
    pub calendar: Result<Calendar, Fault>,
    pub kubernetes: Minor,
    pub surroundings: Surroundings,
    pub resolution: Result<Resolution, catalogue::Unresolved>,
    pub follows: String,
    pub settings: String,
    pub failed: Vec<FailedRelease>,
    /// Where the mesh runs and stays, whatever the spec says by now: while nodes move, while the spec chooses none, and while
    /// it leaves out nodes with enrolled pods.
    pub placement: Option<BTreeMap<String, String>>,
    /// Those nodes.
    pub left_out: LeftOut,
}

impl Ground<'_> {
    pub(super) fn running(&self) -> Option<Version> {
        self.seen.member.running_version()?.parse().ok()
    }

    pub(super) fn release(&self, version: Version) -> Option<Release> {
        decide::release(&self.catalogue, &self.status.releases, version)
    }

    pub(super) fn situation<'b>(&'b self, template: Template<'b>) -> Situation<'b> {
        let versions = self.status.version.as_ref();
        let annotations = self.seen.member.metadata.annotations.as_ref();
        Situation {
            upgrade: self.seen.member.spec.upgrade.as_ref(),
            calendar: self.calendar.as_ref(),
            running: self.running(),
            reached_by: versions.and_then(|known| known.reached_by.as_deref()),
            history: &self.status.history,
            failed: &self.failed,
            paused_by_annotation: annotations
                .is_some_and(|all| all.contains_key(names::PAUSED_ANNOTATION)),
            template,
            catalogue: &self.catalogue,
            kubernetes: self.kubernetes,
            stage: Stage::Open,
            now: self.seen.now,
        }
    }
}

impl<'a> Ground<'a> {
    /// Reads it. What it tells by itself is told in the outcome.
    pub(super) fn read(
        seen: &'a Seen<'a>,
        network: &'a ApplicationNetworkSpec,
        kubernetes: Minor,
        outcome: &mut Outcome,
    ) -> Self {
        let status = seen.member.status.clone().unwrap_or_default();
        let upgrade = seen.member.spec.upgrade.as_ref();
        let withdrawals = seen.catalogue.withdrawals(&status.withdrawals);
        let catalogue = if withdrawals.is_empty() {
            Cow::Borrowed(seen.catalogue)
        } else {
            Cow::Owned(seen.catalogue.remembering(&withdrawals))
        };
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
        let running = seen
            .member
            .running_version()
            .and_then(|text| text.parse().ok());
        let resolution = catalogue::resolve(upgrade, running, &catalogue, kubernetes, seen.now);
        let follows = resolution.as_ref().map(decide::follows).unwrap_or_default();
        let failed = status
            .failed_releases
            .iter()
            .filter(|failed| follows.is_empty() || decide::still_counts(failed, &follows))
            .cloned()
            .collect();
        let is_kept = decide::Flight::of(&status).is_some()
            || preflight::is_none_selected(&survey::nodes(seen.facts), seen.member);
        let (placement, left_out) = match running {
            None => (None, LeftOut::default()),
            Some(_) if is_kept => (plan::placement(seen.facts), LeftOut::default()),
            Some(_) => {
                let plane = seen.member.spec.data_plane.as_ref();
                let wanted = plane.map(|plane| plane.node_selector.clone());
                let left_out = plan::left_out(seen.facts, &wanted.unwrap_or_default(), seen.now);
                (left_out.kept.clone(), left_out)
            }
        };
        Self {
            seen,
            network,
            placement,
            left_out,
            calendar: Calendar::read(upgrade, jiff::tz::db()),
            kubernetes,
            surroundings: Surroundings {
                platform: detection.platform,
                families: survey::families(seen.facts),
                ..Surroundings::default()
            },
            resolution,
            follows,
            settings: decide::settings(&seen.member.spec).unwrap_or_default(),
            failed,
            catalogue,
            status,
        }
    }

    /// What the checks before the first act say of a release.
    pub(super) fn check(&self, release: Option<&Release>, outcome: &mut Outcome) {
        let seen = self.seen;
        let rivals = survey::rivals(seen.member, seen.members.iter());
        outcome.findings = preflight::check(
            &survey::cluster(seen.facts, seen.membership, rivals),
            seen.member,
            release,
        );
        let LeftOut {
            nodes,
            in_use,
            silent,
            ..
        } = &self.left_out;
        let used = preflight::in_use(*nodes, in_use, silent);
        outcome.findings.extend(used);
    }
}
