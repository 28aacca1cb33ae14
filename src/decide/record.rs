//! What a member's status remembers of its version: the rollout that was begun, the template that runs, and what releases
//! are made of.

use std::collections::BTreeMap;

use crate::api::v1alpha1::{
    FailedRelease, KnownRelease, MAX_RELEASES, MeshMemberSpec, MeshMemberStatus, ReleaseImage,
    VersionStatus,
};
use crate::blueprint::revision::TemplateHash;
use crate::catalogue::{Catalogue, Release, Version};

use super::course::InFlight;
use super::decision::Initiator;
use super::situation::{Template, TemplateAuthor};

/// A rollout that was begun and has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flight {
    /// What ran when it started.
    pub from: Version,
    /// The release of this hop.
    pub to: Version,
    /// The channel or pin it was started for; `None` when nobody recorded it.
    pub follows: Option<String>,
    /// Who started it.
    pub by: Initiator,
    /// It fixes a listed vulnerability.
    pub fixes: bool,
    /// It can be taken back.
    pub is_revertible: bool,
    /// Why it goes back instead of on, for another reason than a failed gate.
    pub returns: Option<String>,
    /// The revision that arrives.
    pub revision: Option<String>,
    /// Hash of the per-node template that arrives.
    pub hash: Option<String>,
    /// Fingerprint of the settings that this template was made from; `None` when nobody recorded it.
    pub settings: Option<String>,
}

impl Flight {
    /// The rollout that a status tells of; `None` when nothing that was decided moves: a repair is none, nor is the first
    /// install.
    pub fn of(status: &MeshMemberStatus) -> Option<Self> {
        let rollout = status.rollout.as_ref()?;
        rollout.why.as_ref()?;
        let current = status.version.as_ref()?.current.as_deref()?;
        let read = |text: &str| text.parse::<Version>().ok();
        let current = read(current)?;
        Some(Self {
            from: rollout.from.as_deref().and_then(read).unwrap_or(current),
            to: rollout.to.as_deref().and_then(read)?,
            follows: rollout.follows.clone(),
            by: rollout
                .initiated_by
                .as_deref()
                .and_then(Initiator::named)
                .unwrap_or(Initiator::Spec),
            fixes: rollout.fixes.unwrap_or(false),
            is_revertible: rollout.revertible.unwrap_or(true),
            returns: rollout.returns.clone(),
            revision: rollout.revision.clone(),
            hash: rollout.hash.clone(),
            settings: rollout.settings.clone(),
        })
    }

    /// The revision that arrives, while nobody has changed the settings it was made from, and past the point of no return
    /// whatever has changed. Another one that is rendered now is a later operator's, or of later settings, and waits until
    /// this one has ended.
    pub fn stands_by(&self, settings: &str, is_finishing: bool) -> Option<&str> {
        let is_same = |before: &String| before == settings;
        let revision = self.revision.as_deref()?;
        (is_finishing || self.settings.as_ref().is_none_or(is_same)).then_some(revision)
    }

    /// Why what arrives has failed here, if it has.
    pub fn failure<'a>(&self, failed: &'a [FailedRelease]) -> Option<&'a str> {
        let to = self.to.to_string();
        failed
            .iter()
            .find(|one| one.version == to && Some(&one.hash) == self.hash.as_ref())
            .map(|one| one.reason.as_str())
    }

    /// The same as a question; `follows` stands in for what nobody recorded.
    pub fn question<'a>(&'a self, follows: &'a str) -> InFlight<'a> {
        InFlight {
            from: self.from,
            to: self.to,
            follows: self.follows.as_deref().unwrap_or(follows),
            by: self.by,
            fixes: self.fixes,
            is_revertible: self.is_revertible,
        }
    }
}

/// Whether a failure still counts: it does not once somebody has changed the channel or pin it was met under.
pub fn still_counts(failed: &FailedRelease, follows: &str) -> bool {
    failed
        .follows
        .as_deref()
        .is_none_or(|before| before == follows)
}

/// Fingerprint of everything in a spec that the per-node template is made from.
///
/// # Errors
/// Never: what came as JSON serialises.
pub fn settings(spec: &MeshMemberSpec) -> Result<String, serde_json::Error> {
    let drain = spec
        .upgrade
        .as_ref()
        .and_then(|upgrade| upgrade.strategy.as_ref()?.drain.as_ref());
    let parts: [&dyn crate::blueprint::revision::Canonical; 4] =
        [&spec.data_plane, &spec.images, &spec.network, &drain];
    TemplateHash::of(&parts).map(|hash| hash.to_string())
}

/// Fingerprint of the images of a release that the per-node template may be made from.
///
/// # Errors
/// Never: texts serialise.
pub fn images(release: &Release) -> Result<String, serde_json::Error> {
    let references: BTreeMap<&str, String> = release
        .images
        .iter()
        .filter(|(component, _)| component.is_per_node())
        .map(|(component, image)| (component.as_str(), image.reference(None)))
        .collect();
    TemplateHash::of(&[&references]).map(|hash| hash.to_string())
}

/// What a per-node template is made from, beside the operator that makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sources<'a> {
    /// Fingerprint of the spec's part: [`settings`].
    pub settings: &'a str,
    /// Fingerprint of the release's part: [`images`].
    pub images: &'a str,
}

/// The per-node template to be against the one that runs, as status records it; `live` is what the cluster shows, for a
/// status that was written before templates were recorded.
pub fn template<'a>(
    known: Option<&VersionStatus>,
    live: Option<&str>,
    hash: &'a str,
    sources: Sources<'_>,
) -> Template<'a> {
    let recorded = known.and_then(|known| known.hash.as_deref()).or(live);
    if recorded.is_none_or(|recorded| recorded == hash) {
        return Template::Same;
    }
    Template::Changed {
        hash,
        by: author(known, sources).unwrap_or(TemplateAuthor::Operator),
    }
}

/// Whose change of what a template is made from it is; `None` when nothing of that has changed.
pub fn author(known: Option<&VersionStatus>, sources: Sources<'_>) -> Option<TemplateAuthor> {
    let settings = known.and_then(|known| known.settings.as_deref());
    let images = known.and_then(|known| known.images.as_deref());
    if settings != Some(sources.settings) {
        return Some(TemplateAuthor::Spec);
    }
    // Where nobody recorded them nobody can say that they have changed.
    images
        .is_some_and(|images| images != sources.images)
        .then_some(TemplateAuthor::Release)
}

/// A release by its version: its entry, or what is remembered of it once the entry is gone.
pub fn release(catalogue: &Catalogue, known: &[KnownRelease], version: Version) -> Option<Release> {
    if let Some(release) = catalogue.get(version) {
        return Some(release.clone());
    }
    let text = version.to_string();
    let known = known.iter().find(|known| known.version == text)?;
    Release::remembered(version, &known.istio_version, &known.images).ok()
}

/// What is to be remembered of these releases, in this order.
pub fn known_releases(
    catalogue: &Catalogue,
    known: &[KnownRelease],
    versions: impl IntoIterator<Item = Version>,
) -> Vec<KnownRelease> {
    let mut kept: Vec<KnownRelease> = Vec::new();
    for version in versions {
        let text = version.to_string();
        if kept.len() >= MAX_RELEASES || kept.iter().any(|one| one.version == text) {
            continue;
        }
        if let Some(release) = release(catalogue, known, version) {
            let images = release.images.iter().map(|(component, image)| {
                let image = ReleaseImage {
                    repository: image.repository.clone(),
                    tag: image.tag.clone(),
                    digest: image.digest.clone(),
                };
                (component.as_str().to_owned(), image)
            });
            kept.push(KnownRelease {
                version: text,
                istio_version: release.istio.to_string(),
                images: images.collect(),
            });
        }
    }
    kept
}
