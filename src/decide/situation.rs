//! Everything a decision depends on.

use jiff::Timestamp;

use super::decision::Hold;
use crate::api::v1alpha1::{FailedRelease, HistoryEntry, Upgrade};
use crate::catalogue::{Catalogue, Minor, Resolution, Version};
use crate::window::{Calendar, Fault};

/// Everything a decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// `spec.upgrade`.
    pub upgrade: Option<&'a Upgrade>,
    /// Its windows and exclusions.
    pub calendar: Result<&'a Calendar, &'a Fault>,
    /// The version that runs; `None` until the first install has finished.
    pub running: Option<Version>,
    /// The channel or pin by which `running` was reached, as [`follows`] writes it; `None` when nobody recorded it, and
    /// then a channel counts as unchanged.
    pub reached_by: Option<&'a str>,
    /// The last moves, newest first.
    pub history: &'a [HistoryEntry],
    /// Releases that failed here and still count: [`super::still_counts`].
    pub failed: &'a [FailedRelease],
    /// The annotation `applink.dev/paused` is there.
    pub paused_by_annotation: bool,
    /// Whether the per-node template differs from the one that runs.
    pub template: Template<'a>,
    /// All releases.
    pub catalogue: &'a Catalogue,
    /// The cluster's Kubernetes minor.
    pub kubernetes: Minor,
    /// Whether the network lets this member change.
    pub stage: Stage<'a>,
    /// Now.
    pub now: Timestamp,
}

/// The per-node template against the one that runs, at the version that runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Template<'a> {
    /// Equal.
    #[default]
    Same,
    /// Different.
    Changed {
        /// Hash of the one to be.
        hash: &'a str,
        /// Whose change it is.
        by: TemplateAuthor,
    },
}

/// Whose change of the template it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemplateAuthor {
    /// The spec's owner.
    Spec,
    /// Its release is made of other images: the `MeshRelease` was changed.
    Release,
    /// A new operator renders it in another way.
    Operator,
}

/// Whether the network lets this member change by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage<'a> {
    /// It does.
    #[default]
    Open,
    /// An earlier stage has not finished.
    Held {
        /// That stage.
        name: &'a str,
    },
}

impl Situation<'_> {
    /// Who paused the member.
    pub(super) fn paused(&self) -> Option<Hold> {
        if self.paused_by_annotation {
            Some(Hold::PausedByAnnotation)
        } else {
            let paused = self.upgrade.and_then(|upgrade| upgrade.paused);
            paused.unwrap_or(false).then_some(Hold::PausedBySpec)
        }
    }

    /// A move to the version was tried here and taken back. At the version that runs only a template can have failed.
    pub(super) fn has_failed(&self, version: Version) -> bool {
        if self.running == Some(version) {
            return false;
        }
        let version = version.to_string();
        self.failed.iter().any(|failed| failed.version == version)
    }

    /// A move between the two changes a minor: ours, or Istio's under a patch of ours.
    pub(super) fn changes_minor(&self, from: Version, to: Version) -> bool {
        let istio = |version| self.catalogue.get(version).map(|entry| entry.istio.line());
        let (before, after) = (istio(from), istio(to));
        from.line() != to.line() || before.is_some() && after.is_some() && before != after
    }

    /// The vulnerabilities of one version that another one has not.
    pub(super) fn fixed_on_the_way(&self, from: Version, to: Version) -> Vec<String> {
        let still_open = self.catalogue.vulnerabilities(to);
        self.catalogue
            .vulnerabilities(from)
            .into_iter()
            .filter(|fix| !still_open.iter().any(|open| open.id == fix.id))
            .map(|fix| fix.id.clone())
            .collect()
    }
}

/// What a member follows, in one word: the channel or the pin in effect.
pub fn follows(resolution: &Resolution) -> String {
    match (resolution.channel, resolution.pin) {
        (Some(channel), _) => channel.as_str().to_owned(),
        (None, Some(pin)) => pin.to_string(),
        (None, None) => String::new(),
    }
}
