//! Moments, versions, specs and release objects that tables of versions are made of.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Version;
use crate::api::v1alpha1::{
    ChannelEntry, KubernetesRange, MeshRelease, MeshReleaseSpec, ReleaseChannel, Upgrade,
    UpgradeMode, Withdrawn,
};

pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub fn v(text: &str) -> Version {
    text.parse().unwrap()
}

pub fn pinned(version: &str) -> Upgrade {
    Upgrade {
        version: Some(version.to_owned()),
        ..Upgrade::default()
    }
}

pub fn following(channel: ReleaseChannel) -> Upgrade {
    Upgrade {
        mode: Some(UpgradeMode::FullyManaged),
        release_channel: Some(channel),
        ..Upgrade::default()
    }
}

/// A release object with Istio 1.31.0 for Kubernetes 1.31 to 1.37, in no channel.
pub fn object(name: &str) -> MeshRelease {
    let spec = MeshReleaseSpec {
        istio_version: "1.31.0".into(),
        kubernetes: KubernetesRange {
            min: "1.31".into(),
            max: "1.37".into(),
        },
        ..MeshReleaseSpec::default()
    };
    MeshRelease::new(name, spec)
}

/// The same with another Istio.
pub fn carrying(name: &str, istio: &str) -> MeshRelease {
    let mut object = object(name);
    object.spec.istio_version = istio.to_owned();
    object
}

pub fn in_channel(name: &str, channel: ReleaseChannel, since: &str) -> MeshRelease {
    let mut object = object(name);
    object.spec.channels = vec![ChannelEntry {
        name: channel,
        since: Time(at(since)),
    }];
    object
}

pub fn withdrawn(name: &str) -> MeshRelease {
    let mut object = object(name);
    object.spec.withdrawn = Some(Withdrawn {
        reason: "it loses connections".into(),
    });
    object
}
