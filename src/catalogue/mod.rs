//! Releases: the embedded catalogue, its overlay by `MeshRelease` objects, and what a member's spec resolves to.
//!
//! Sync and pure: `now` and the cluster's version are arguments.

mod embedded;
#[cfg(test)]
pub(crate) mod fixtures;
mod image;
mod malformed;
mod release;
mod resolve;
mod unresolved;
mod version;
mod withdrawal;

use std::collections::BTreeMap;

use jiff::Timestamp;

pub use image::{Component, Image};
pub use malformed::Malformed;
pub use release::{Fix, KubernetesRange, Leap, Release, SUPPORTED_ISTIO, Source};
pub use resolve::{Resolution, resolve};
pub use unresolved::{Notice, Unresolved};
pub use version::{Minor, NotAVersion, Pin, Version};

use crate::api::v1alpha1::{AvailableUpgrade, MAX_AVAILABLE_UPGRADES, MeshRelease, ReleaseChannel};

/// Most `MeshRelease` objects that are read, in the order they are given; the others are refused by name.
pub const MAX_OBJECTS: usize = 500;

/// All releases a member can take.
#[derive(Clone, Debug, PartialEq)]
pub struct Catalogue {
    releases: BTreeMap<Version, Release>,
    refused: BTreeMap<String, Malformed>,
}

impl Catalogue {
    /// What ships in the binary.
    pub fn embedded() -> Self {
        let releases = embedded::releases()
            .into_iter()
            .map(|release| (release.version, release))
            .collect();
        Self {
            releases,
            refused: BTreeMap::new(),
        }
    }

    /// The embedded catalogue with every object laid over it: each adds an entry or replaces one whole.
    /// An object that cannot be read changes nothing and is kept in [`Catalogue::refused`].
    pub fn overlaid<'a>(objects: impl IntoIterator<Item = &'a MeshRelease>) -> Self {
        let mut catalogue = Self::embedded();
        for (number, object) in objects.into_iter().enumerate() {
            let read = if number < MAX_OBJECTS {
                Release::read(object)
            } else {
                Err(Malformed::TooMany)
            };
            match read {
                Ok(release) => {
                    catalogue.releases.insert(release.version, release);
                }
                Err(malformed) => {
                    catalogue
                        .refused
                        .insert(object.metadata.name.clone().unwrap_or_default(), malformed);
                }
            }
        }
        catalogue
    }

    /// The entry of a version.
    pub fn get(&self, version: Version) -> Option<&Release> {
        self.releases.get(&version)
    }

    /// Every entry, newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &Release> {
        self.releases.values().rev()
    }

    /// The objects that were not taken, by name, and why.
    pub fn refused(&self) -> &BTreeMap<String, Malformed> {
        &self.refused
    }

    /// The newest release of a line that may be chosen for this Kubernetes.
    pub fn newest_of_line(
        &self,
        line: Minor,
        kubernetes: Minor,
        now: Timestamp,
    ) -> Option<&Release> {
        self.choices(kubernetes, now)
            .find(|release| release.version.line() == line)
    }

    /// What a channel resolves to: the highest version that lists it by now, is not withdrawn and fits.
    pub fn in_channel(
        &self,
        channel: ReleaseChannel,
        kubernetes: Minor,
        now: Timestamp,
    ) -> Option<&Release> {
        self.choices(kubernetes, now)
            .find(|release| release.is_in(channel, now))
    }

    /// What may be chosen for this Kubernetes, newest first.
    pub fn choices(&self, kubernetes: Minor, now: Timestamp) -> impl Iterator<Item = &Release> {
        self.newest_first().filter(move |release| {
            release.is_available(now) && release.kubernetes.contains(kubernetes)
        })
    }

    /// Where a member of a release may go in one hop, latest first: the newest release of the next line, of its own and of
    /// the one before that supports a Kubernetes minor that it supports too, and carries an Istio near enough. What has run
    /// on the member before may forbid the way back.
    pub fn one_hop(&self, from: &Release, now: Timestamp) -> Vec<&Release> {
        let line = from.version.line();
        let lines = [
            line.minor.checked_add(1),
            Some(line.minor),
            line.minor.checked_sub(1),
        ];
        let newest = |minor| {
            let line = Minor::new(line.major, minor);
            self.newest_first().find(|release| {
                release.version.line() == line
                    && release.is_available(now)
                    && release.kubernetes.overlaps(from.kubernetes)
                    && release.leap_from(from).is_none()
            })
        };
        lines
            .into_iter()
            .flatten()
            .filter_map(newest)
            .filter(|release| release.version != from.version)
            .collect()
    }

    /// The next moment at which the catalogue means something else by the clock alone: a release's day comes or ends, or a
    /// channel begins to list one.
    pub fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let moments = self.releases.values().flat_map(Release::moments);
        moments.filter(|moment| *moment > now).min()
    }

    /// Vulnerabilities of a version: what later patches of its line fix.
    pub fn vulnerabilities(&self, version: Version) -> Vec<&Fix> {
        let known = self
            .get(version)
            .map(|release| release.fixes.as_slice())
            .unwrap_or_default();
        let mut found: Vec<&Fix> = Vec::new();
        for later in self
            .releases
            .values()
            .filter(|later| later.version > version && later.version.line() == version.line())
        {
            for fix in &later.fixes {
                let is_new = !known
                    .iter()
                    .chain(found.iter().copied())
                    .any(|other| other.id == fix.id);
                if is_new {
                    found.push(fix);
                }
            }
        }
        found
    }

    /// Where a member could go from what it runs: the newest release of its own line and of every later one,
    /// nearest first.
    pub fn available_upgrades(
        &self,
        running: Version,
        kubernetes: Minor,
        now: Timestamp,
    ) -> Vec<AvailableUpgrade> {
        let mut by_line: BTreeMap<Minor, &Release> = BTreeMap::new();
        for release in self
            .choices(kubernetes, now)
            .filter(|release| release.version > running)
        {
            by_line.entry(release.version.line()).or_insert(release);
        }
        let vulnerable = self.vulnerabilities(running);
        by_line
            .into_values()
            .take(MAX_AVAILABLE_UPGRADES)
            .map(|release| {
                let still_open = self.vulnerabilities(release.version);
                let fixed = vulnerable
                    .iter()
                    .filter(|fix| !still_open.iter().any(|open| open.id == fix.id))
                    .count();
                AvailableUpgrade {
                    version: release.version.to_string(),
                    istio_version: release.istio.to_string(),
                    channels: release
                        .channels_at(now)
                        .into_iter()
                        .map(|channel| channel.as_str().to_owned())
                        .collect(),
                    fixes: i32::try_from(fixed).unwrap_or(i32::MAX),
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
