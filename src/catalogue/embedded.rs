//! The catalogue in the binary.
//!
//! Our 1.4, 1.5 and 1.6 carry Istio 1.29, 1.30 and 1.31. Sources, as read in November 2026:
//!
//! - days of release: the days of the tags of istio/istio (announcements follow up to six days later);
//! - Kubernetes ranges and ends of life: the table of istio.io's page of supported releases, column "supported";
//! - fixes and scores: istio.io's security bulletins, checked one by one because their ranges are irregular; the patch
//!   is the first that is safe in every reading of the bulletin;
//! - Gateway API versions: istiod's go.mod of that minor;
//! - channels and the days on which they list a release: our own, no source; see [`PROMOTION`].
//!
//! Where a figure has another source, or none, the comment beside it says so.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::{Date, date};
use jiff::tz::TimeZone;

use super::image::Component;
use super::release::{Fix, KubernetesRange, Release, Source, default_images};
use super::version::{Minor, Version};
use crate::api::v1alpha1::ReleaseChannel::{self, Extended, Rapid, Stable};

/// One line: what all its patches share.
struct Line {
    ours: Minor,
    istio: Minor,
    kubernetes: KubernetesRange,
    gateway_api: Version,
    end_of_life: Option<Date>,
    patches: &'static [Patch],
}

/// One patch: the day it was tagged, the channels that list it and since when, the bulletins it is the first to fix.
struct Patch {
    released: Date,
    channels: &'static [(ReleaseChannel, Date)],
    fixes: &'static [Bulletin],
}

/// One security bulletin: number, score in tenths, components.
struct Bulletin(&'static str, u8, &'static [Component]);

/// Published 2026-03-10. Affects 1.29.0: JWKS default keys and debug endpoints of istiod, five Envoy defects.
const B2026_001: Bulletin = Bulletin(
    "ISTIO-SECURITY-2026-001",
    87,
    &[Component::Pilot, Component::Proxyv2],
);
/// Published 2026-04-20. Affects 1.29.0 and 1.29.1: serviceAccounts matched as a pattern, jwksUri fetched without limits.
const B2026_003: Bulletin = Bulletin("ISTIO-SECURITY-2026-003", 54, &[Component::Pilot]);
/// Published 2026-06-04. Affects 1.30.0 and 1.29.0 to 1.29.3: HTTP/2 header amplification in Envoy, which the node proxies
/// do not contain.
const B2026_004: Bulletin = Bulletin("ISTIO-SECURITY-2026-004", 75, &[Component::Proxyv2]);
/// Published 2026-06-24, the day of 1.30.2: fourteen Envoy defects. "1.30.1 to 1.30.2; 1.29.4 to 1.29.5" may mean from the
/// affected to the fixed; the first patch that is safe in both readings is used.
const B2026_005: Bulletin = Bulletin("ISTIO-SECURITY-2026-005", 75, &[Component::Proxyv2]);
/// Published 2026-08-26. Affects 1.30.0 to 1.30.3 and 1.29.0 to 1.29.6: a long proxyVersion pattern in an `EnvoyFilter` exhausts
/// istiod.
const B2026_006: Bulletin = Bulletin("ISTIO-SECURITY-2026-006", 77, &[Component::Pilot]);
// ISTIO-SECURITY-2026-002 is about the design of shared meshes; no release fixes it.

/// The day 1.6 came to Rapid, 1.5 to Stable and 1.4 became the oldest line, as the managed product promoted them.
const PROMOTION: Date = date(2026, 9, 21);

const LINES: &[Line] = &[
    Line {
        ours: Minor::new(1, 4),
        istio: Minor::new(1, 29),
        kubernetes: KubernetesRange {
            min: Minor::new(1, 31),
            max: Minor::new(1, 35),
        },
        gateway_api: Version::new(1, 4, 1),
        // Published as "about August 2026"; six weeks after 1.31.0, as the support rule says.
        end_of_life: Some(date(2026, 10, 12)),
        patches: &[
            Patch {
                released: date(2026, 2, 11),
                channels: &[],
                fixes: &[],
            },
            Patch {
                released: date(2026, 3, 6),
                channels: &[],
                fixes: &[B2026_001],
            },
            Patch {
                released: date(2026, 4, 9),
                channels: &[],
                fixes: &[B2026_003],
            },
            Patch {
                released: date(2026, 5, 8),
                channels: &[],
                fixes: &[],
            },
            Patch {
                released: date(2026, 6, 4),
                channels: &[],
                fixes: &[B2026_004],
            },
            Patch {
                released: date(2026, 6, 23),
                channels: &[],
                fixes: &[],
            },
            Patch {
                released: date(2026, 7, 13),
                channels: &[(Stable, date(2026, 7, 20)), (Extended, date(2026, 7, 20))],
                fixes: &[B2026_005],
            },
            Patch {
                released: date(2026, 8, 27),
                channels: &[(Stable, date(2026, 9, 1)), (Extended, date(2026, 9, 1))],
                fixes: &[B2026_006],
            },
        ],
    },
    Line {
        ours: Minor::new(1, 5),
        istio: Minor::new(1, 30),
        kubernetes: KubernetesRange {
            min: Minor::new(1, 32),
            max: Minor::new(1, 36),
        },
        gateway_api: Version::new(1, 5, 1),
        // Expected about November 2026; no certain day is published.
        end_of_life: None,
        patches: &[
            Patch {
                released: date(2026, 5, 15),
                channels: &[],
                fixes: &[],
            },
            Patch {
                released: date(2026, 6, 4),
                channels: &[],
                fixes: &[B2026_004],
            },
            Patch {
                released: date(2026, 6, 23),
                channels: &[],
                fixes: &[],
            },
            Patch {
                released: date(2026, 7, 13),
                channels: &[(Rapid, date(2026, 7, 13))],
                fixes: &[B2026_005],
            },
            Patch {
                released: date(2026, 8, 27),
                // Extended follows the oldest line that is cared for: this one since 1.4 has ended.
                channels: &[
                    (Rapid, date(2026, 8, 27)),
                    (Stable, PROMOTION),
                    (Extended, date(2026, 10, 13)),
                ],
                fixes: &[B2026_006],
            },
        ],
    },
    Line {
        ours: Minor::new(1, 6),
        istio: Minor::new(1, 31),
        // No published row; the development row of mid-2026.
        kubernetes: KubernetesRange {
            min: Minor::new(1, 32),
            max: Minor::new(1, 36),
        },
        gateway_api: Version::new(1, 6, 0),
        // Not published.
        end_of_life: None,
        patches: &[Patch {
            released: date(2026, 8, 31),
            channels: &[(Rapid, PROMOTION)],
            fixes: &[],
        }],
    },
];

/// Every embedded release, oldest first.
pub(super) fn releases() -> Vec<Release> {
    LINES
        .iter()
        .flat_map(|line| {
            (0u16..)
                .zip(line.patches)
                .map(|(number, patch)| release(line, number, patch))
        })
        .collect()
}

fn release(line: &Line, number: u16, patch: &Patch) -> Release {
    let version = Version::new(line.ours.major, line.ours.minor, number);
    let istio = Version::new(line.istio.major, line.istio.minor, number);
    Release {
        version,
        istio,
        kubernetes: line.kubernetes,
        gateway_api: Some(line.gateway_api),
        released: Some(patch.released),
        end_of_life: line.end_of_life,
        channels: patch
            .channels
            .iter()
            .filter_map(|(channel, day)| Some((*channel, midnight(*day)?)))
            .collect::<BTreeMap<_, _>>(),
        images: default_images(version, istio),
        fixes: patch.fixes.iter().map(fix).collect(),
        withdrawn: None,
        source: Source::Embedded,
    }
}

fn fix(Bulletin(id, cvss, components): &Bulletin) -> Fix {
    Fix {
        id: (*id).to_owned(),
        cvss_tenths: Some(*cvss),
        components: components.to_vec(),
    }
}

fn midnight(day: Date) -> Option<Timestamp> {
    day.to_zoned(TimeZone::UTC)
        .ok()
        .map(|zoned| zoned.timestamp())
}
