//! One release, validated: what a `MeshRelease` or an embedded entry becomes before anybody decides with it.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::image::{Component, Image};
use super::malformed::Malformed;
use super::version::{Minor, NotAVersion, Version};
use crate::api::v1alpha1::{MeshRelease, ReleaseChannel, ReleaseFix, ReleaseImage};

/// The Istio lines whose objects this version can build, oldest first.
pub const SUPPORTED_ISTIO: [Minor; 3] = [Minor::new(1, 29), Minor::new(1, 30), Minor::new(1, 31)];

/// One release of the data plane.
#[derive(Clone, Debug, PartialEq)]
pub struct Release {
    /// Our version.
    pub version: Version,
    /// The Istio version it carries.
    pub istio: Version,
    /// The Kubernetes minors it supports.
    pub kubernetes: KubernetesRange,
    /// The Gateway API bundle it needs at least.
    pub gateway_api: Option<Version>,
    /// The day it was released.
    pub released: Option<Date>,
    /// The last day it is cared for.
    pub end_of_life: Option<Date>,
    /// The channels that list it, and since when.
    pub channels: BTreeMap<ReleaseChannel, Timestamp>,
    /// Where every component's image is; one entry a component.
    pub images: BTreeMap<Component, Image>,
    /// What it fixes against the release before it.
    pub fixes: Vec<Fix>,
    /// Why nobody should take it any more.
    pub withdrawn: Option<String>,
    /// Where the entry comes from.
    pub source: Source,
}

/// Where an entry of the catalogue comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The binary.
    Embedded,
    /// A `MeshRelease` of this name, which is its version.
    Object,
}

/// Kubernetes minors, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KubernetesRange {
    /// The oldest.
    pub min: Minor,
    /// The newest.
    pub max: Minor,
}

impl KubernetesRange {
    /// Whether a cluster of this minor is supported.
    pub fn contains(self, kubernetes: Minor) -> bool {
        (self.min..=self.max).contains(&kubernetes)
    }

    /// Whether some minor is in both ranges.
    pub fn overlaps(self, other: Self) -> bool {
        self.min <= other.max && other.min <= self.max
    }
}

impl fmt::Display for KubernetesRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.min, self.max)
    }
}

/// A vulnerability that a release fixes. It reads as its identifier and score: `CVE-2026-31837 (8.7)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Fix {
    /// Its identifier.
    pub id: String,
    /// The score, in tenths: 77 is 7.7.
    pub cvss_tenths: Option<u8>,
    /// The components it concerns; empty means it is not said.
    pub components: Vec<Component>,
}

impl fmt::Display for Fix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)?;
        match self.cvss_tenths {
            Some(tenths) => write!(f, " ({}.{})", tenths / 10, tenths % 10),
            None => Ok(()),
        }
    }
}

impl Fix {
    /// Whether the node proxies or the network agent are concerned.
    pub fn touches_nodes(&self) -> bool {
        self.components
            .iter()
            .any(|component| component.is_per_node())
    }
}

/// A release that carries an Istio too far from the one before. It reads as what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leap {
    /// The release.
    pub version: Version,
    /// The Istio it carries.
    pub istio: Version,
    /// The Istio minor of the release before.
    pub before: Minor,
}

impl fmt::Display for Leap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            version,
            istio,
            before,
        } = self;
        let steps = istio.minor.abs_diff(before.minor);
        let how_far = if steps > 1 {
            "more than one minor"
        } else {
            "a minor"
        };
        let side = if istio.line() > *before {
            "above"
        } else {
            "below"
        };
        write!(
            f,
            "{version} carries Istio {istio}, {how_far} {side} Istio {before}"
        )
    }
}

impl Release {
    /// The image of a component, as a pod names it.
    pub fn image(&self, component: Component, registry: Option<&str>) -> String {
        self.images.get(&component).map_or_else(
            || {
                component
                    .default_image(self.version, self.istio)
                    .reference(registry)
            },
            |image| image.reference(registry),
        )
    }

    /// Why a mesh may not go from another release to this one in one hop: Istio's own rule, whatever our version numbers
    /// say. A data plane is at most one Istio minor behind its control plane and never ahead of it, and both run beside
    /// each other meanwhile. `None` when it may.
    pub fn leap_from(&self, before: &Self) -> Option<Leap> {
        let (older, newer) = if before.version <= self.version {
            (before.istio.line(), self.istio.line())
        } else {
            (self.istio.line(), before.istio.line())
        };
        let is_step = newer.major == older.major
            && newer.minor >= older.minor
            && newer.minor <= older.minor.saturating_add(1);
        (!is_step).then_some(Leap {
            version: self.version,
            istio: self.istio,
            before: before.istio.line(),
        })
    }

    /// Whether the release may be chosen: released, and not withdrawn.
    pub fn is_available(&self, now: Timestamp) -> bool {
        self.withdrawn.is_none() && self.released.is_none_or(|day| day <= utc(now))
    }

    /// Whether the last day of its life has passed.
    pub fn is_past_end_of_life(&self, now: Timestamp) -> bool {
        self.end_of_life.is_some_and(|day| day < utc(now))
    }

    /// The moment at which the last day of its life is over.
    pub fn ends(&self) -> Option<Timestamp> {
        let after = self.end_of_life?.tomorrow().ok()?;
        let midnight = after.to_zoned(TimeZone::UTC).ok()?;
        Some(midnight.timestamp())
    }

    /// The moments at which it means something else: its day comes, its support ends, a channel begins to list it.
    pub fn moments(&self) -> impl Iterator<Item = Timestamp> + '_ {
        let day_after = self.end_of_life.and_then(|day| day.tomorrow().ok());
        let midnight = |day: Date| {
            day.to_zoned(TimeZone::UTC)
                .ok()
                .map(|zoned| zoned.timestamp())
        };
        let days = [self.released, day_after].into_iter().flatten();
        days.filter_map(midnight)
            .chain(self.channels.values().copied())
    }

    /// Whether a channel lists it at this time.
    pub fn is_in(&self, channel: ReleaseChannel, now: Timestamp) -> bool {
        self.channels
            .get(&channel)
            .is_some_and(|since| *since <= now)
    }

    /// The channels that list it at this time.
    pub fn channels_at(&self, now: Timestamp) -> Vec<ReleaseChannel> {
        self.channels
            .iter()
            .filter(|(_, since)| **since <= now)
            .map(|(channel, _)| *channel)
            .collect()
    }

    /// The entry that an object describes.
    ///
    /// # Errors
    /// [`Malformed`] names the field and the reason.
    pub fn read(object: &MeshRelease) -> Result<Self, Malformed> {
        let name = object.metadata.name.as_deref().unwrap_or_default();
        let spec = &object.spec;
        let version: Version = name.parse().map_err(Malformed::Name)?;
        let istio: Version = read("istioVersion", &spec.istio_version)?;
        if !SUPPORTED_ISTIO.contains(&istio.line()) {
            return Err(Malformed::UnsupportedIstio {
                istio: istio.line(),
            });
        }
        let kubernetes = KubernetesRange {
            min: read("kubernetes.min", &spec.kubernetes.min)?,
            max: read("kubernetes.max", &spec.kubernetes.max)?,
        };
        if kubernetes.min > kubernetes.max {
            return Err(Malformed::EmptyKubernetesRange(kubernetes));
        }
        let released = day("released", spec.released.as_deref())?;
        let end_of_life = day("endOfLife", spec.end_of_life.as_deref())?;
        if let (Some(released), Some(end)) = (released, end_of_life)
            && end < released
        {
            return Err(Malformed::EndsBeforeRelease { released, end });
        }
        let mut channels = BTreeMap::new();
        for entry in &spec.channels {
            if let Some(released) = released
                && utc(entry.since.0) < released
            {
                return Err(Malformed::ChannelBeforeRelease {
                    channel: entry.name.as_str(),
                    released,
                });
            }
            if channels.insert(entry.name, entry.since.0).is_some() {
                return Err(Malformed::DuplicateChannel(entry.name.as_str()));
            }
        }
        Ok(Self {
            version,
            istio,
            kubernetes,
            gateway_api: spec
                .gateway_api
                .as_deref()
                .map(|text| read("gatewayAPI", text))
                .transpose()?,
            released,
            end_of_life,
            channels,
            images: images(&spec.images, version, istio)?,
            fixes: fixes(&spec.fixes)?,
            withdrawn: spec
                .withdrawn
                .as_ref()
                .map(|withdrawn| withdrawn.reason.clone()),
            source: Source::Object,
        })
    }
}

impl Release {
    /// A release that has left the catalogue, as somebody who runs it remembers it: in no channel.
    ///
    /// # Errors
    /// [`Malformed`] names what cannot be read.
    pub fn remembered(
        version: Version,
        istio: &str,
        named: &BTreeMap<String, ReleaseImage>,
    ) -> Result<Self, Malformed> {
        let istio: Version = read("istioVersion", istio)?;
        if !SUPPORTED_ISTIO.contains(&istio.line()) {
            return Err(Malformed::UnsupportedIstio {
                istio: istio.line(),
            });
        }
        Ok(Self {
            version,
            istio,
            kubernetes: KubernetesRange {
                min: Minor::new(1, 0),
                max: Minor::new(1, u16::MAX),
            },
            gateway_api: None,
            released: None,
            end_of_life: None,
            channels: BTreeMap::new(),
            images: images(named, version, istio)?,
            fixes: Vec::new(),
            withdrawn: None,
            source: Source::Object,
        })
    }
}

/// Every component's image: those that are named, and the usual place for the others.
pub(super) fn default_images(version: Version, istio: Version) -> BTreeMap<Component, Image> {
    Component::ALL
        .into_iter()
        .map(|component| (component, component.default_image(version, istio)))
        .collect()
}

fn images(
    named: &BTreeMap<String, ReleaseImage>,
    version: Version,
    istio: Version,
) -> Result<BTreeMap<Component, Image>, Malformed> {
    let mut images = default_images(version, istio);
    for (name, image) in named {
        let component =
            Component::named(name).ok_or_else(|| Malformed::unknown_component("images", name))?;
        if image.tag.is_none() && image.digest.is_none() {
            return Err(Malformed::ImageWithoutVersion(component.as_str()));
        }
        let image = Image {
            repository: image.repository.clone(),
            tag: image.tag.clone(),
            digest: image.digest.clone(),
        };
        images.insert(component, image);
    }
    Ok(images)
}

fn fixes(listed: &[ReleaseFix]) -> Result<Vec<Fix>, Malformed> {
    let mut fixes: Vec<Fix> = Vec::new();
    for one in listed {
        let one = fix(one)?;
        if fixes.iter().any(|other| other.id == one.id) {
            return Err(Malformed::DuplicateFix { id: one.id });
        }
        fixes.push(one);
    }
    Ok(fixes)
}

fn fix(fix: &ReleaseFix) -> Result<Fix, Malformed> {
    let cvss_tenths = match fix.cvss {
        None => None,
        Some(score) if (0.0..=10.0).contains(&score) => Some(tenths(score)),
        Some(_) => return Err(Malformed::Score { id: fix.id.clone() }),
    };
    let components = fix
        .components
        .iter()
        .map(|name| {
            Component::named(name).ok_or_else(|| Malformed::unknown_component("fixes", name))
        })
        .collect::<Result<_, _>>()?;
    Ok(Fix {
        id: fix.id.clone(),
        cvss_tenths,
        components,
    })
}

/// A score from 0 to 10 in tenths.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the caller has checked 0 to 10"
)]
fn tenths(score: f64) -> u8 {
    (score * 10.0).round() as u8
}

fn read<T: std::str::FromStr<Err = NotAVersion>>(
    field: &'static str,
    text: &str,
) -> Result<T, Malformed> {
    text.parse()
        .map_err(|source| Malformed::Version { field, source })
}

fn day(field: &'static str, text: Option<&str>) -> Result<Option<Date>, Malformed> {
    text.map(|text| {
        text.parse().map_err(|_| Malformed::Day {
            field,
            text: text.chars().take(32).collect(),
        })
    })
    .transpose()
}

fn utc(now: Timestamp) -> Date {
    now.to_zoned(TimeZone::UTC).date()
}
