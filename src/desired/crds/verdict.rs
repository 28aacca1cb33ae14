//! May a definition be applied over what the cluster has? Pure.

use std::fmt;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use super::{BUNDLE_VERSION_ANNOTATION, Bundled, version_of_bundle};
use crate::catalogue::Version;
use crate::names;

/// The channel of the Gateway API that we install and accept.
const STANDARD: &str = "standard";

/// What matters of a definition in the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Existing {
    /// Who keeps it.
    pub owner: Owner,
    /// Version of the bundle it came from, where it says so.
    pub version: Option<Version>,
    /// Channel of the Gateway API, where it says so.
    pub channel: Option<String>,
    /// Versions that are served.
    pub served: Vec<String>,
    /// Versions in which objects are or may be stored.
    pub stored: Vec<String>,
    /// Hash of the specification we applied last.
    pub hash: Option<String>,
}

/// Who keeps a definition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Owner {
    /// We do: it carries our label.
    Applink,
    /// Somebody who says a name.
    Named(String),
    /// Somebody who does not.
    #[default]
    Unknown,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Applink => names::MANAGED_BY,
            Self::Named(name) => name,
            Self::Unknown => "somebody else",
        })
    }
}

impl Existing {
    /// What matters of this definition.
    #[must_use]
    pub fn of(definition: &CustomResourceDefinition) -> Self {
        let metadata = &definition.metadata;
        let annotation = |key: &str| {
            metadata
                .annotations
                .as_ref()
                .and_then(|all| all.get(key))
                .cloned()
        };
        let label = |key: &str| {
            metadata
                .labels
                .as_ref()
                .and_then(|all| all.get(key))
                .cloned()
        };
        let field_manager = || {
            let managers = metadata.managed_fields.as_ref()?;
            managers
                .iter()
                .find(|entry| entry.subresource.is_none())
                .and_then(|entry| entry.manager.clone())
        };
        let owner = match label(names::MANAGED_BY_LABEL) {
            Some(name) if name == names::MANAGED_BY => Owner::Applink,
            Some(name) => Owner::Named(name),
            None => field_manager().map_or(Owner::Unknown, Owner::Named),
        };
        Self {
            owner,
            version: annotation(names::GATEWAY_API_BUNDLE_ANNOTATION)
                .or_else(|| annotation(BUNDLE_VERSION_ANNOTATION))
                .and_then(|text| version_of_bundle(&text)),
            channel: annotation(names::GATEWAY_API_CHANNEL_ANNOTATION),
            served: definition
                .spec
                .versions
                .iter()
                .filter(|version| version.served)
                .map(|version| version.name.clone())
                .collect(),
            stored: definition
                .status
                .as_ref()
                .and_then(|status| status.stored_versions.clone())
                .unwrap_or_default(),
            hash: annotation(names::TEMPLATE_HASH_ANNOTATION),
        }
    }
}

/// What to do with a definition of the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is not there, or ours and older: apply it.
    Apply,
    /// It is ours and the same: nothing to do.
    Current,
    /// It is newer than ours, whoever keeps it: leave it.
    Newer {
        /// The version in the cluster.
        installed: Version,
    },
    /// Somebody else keeps it, and it has what we need: leave it, and say so.
    Foreign {
        /// Who.
        owner: Owner,
    },
    /// It cannot stay and is not ours to change: nothing is changed, somebody must act.
    Unfit {
        /// Who keeps it.
        owner: Owner,
        /// Why it cannot stay.
        reason: String,
    },
}

/// May this definition be applied over what is there, and if not, will do what is there?
///
/// `least` is the oldest bundle of the definition's family that the release works with.
///
/// Never downgraded: neither below the version of the bundle in the cluster, nor by a definition that lacks a version in
/// which objects are stored.
#[must_use]
pub fn judge(bundled: &Bundled, existing: Option<&Existing>, least: Option<Version>) -> Verdict {
    let Some(existing) = existing else {
        return Verdict::Apply;
    };
    let unfit = |reason: String| Verdict::Unfit {
        owner: existing.owner.clone(),
        reason,
    };
    if existing.owner != Owner::Applink {
        if let Some(channel) = existing
            .channel
            .as_deref()
            .filter(|channel| *channel != STANDARD)
        {
            return unfit(format!(
                "it is of the {channel} channel of the Gateway API; the standard channel is expected"
            ));
        }
        if let (Some(installed), Some(least)) = (existing.version, least)
            && installed < least
        {
            return unfit(format!(
                "its bundle is {installed}, and at least {least} is needed"
            ));
        }
        let lacking: Vec<_> = bundled
            .versions
            .iter()
            .filter(|version| !existing.served.contains(version))
            .map(String::as_str)
            .collect();
        // Without a version of the bundle, what is served is all there is to go by.
        if existing.version.is_none() && lacking.len() == bundled.versions.len() {
            return unfit(format!("it serves none of {}", bundled.versions.join(", ")));
        }
        return Verdict::Foreign {
            owner: existing.owner.clone(),
        };
    }
    if let (Some(installed), Some(ours)) = (existing.version, bundled.version)
        && installed > ours
    {
        return Verdict::Newer { installed };
    }
    if let Some(stored) = existing
        .stored
        .iter()
        .find(|version| !bundled.versions.contains(version))
    {
        return unfit(format!(
            "objects are stored in version {stored}, which the definition of this release lacks"
        ));
    }
    if existing.hash.is_some()
        && existing.hash.as_deref() == bundled.manifest.annotation(names::TEMPLATE_HASH_ANNOTATION)
    {
        return Verdict::Current;
    }
    Verdict::Apply
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bundled() -> Bundled {
        let document = json!({
            "kind": "CustomResourceDefinition",
            "metadata": {"name": "gateways.gateway.networking.k8s.io", "annotations": {"gateway.networking.k8s.io/bundle-version": "v1.5.1"}},
            "spec": {"group": "gateway.networking.k8s.io", "versions": [{"name": "v1"}, {"name": "v1beta1"}]},
        });
        super::super::definition("f", document, None)
            .unwrap()
            .unwrap()
    }

    fn existing(owner: Owner, version: Option<(u16, u16, u16)>) -> Existing {
        Existing {
            owner,
            version: version.map(|(major, minor, patch)| Version::new(major, minor, patch)),
            channel: Some("standard".into()),
            served: vec!["v1".into(), "v1beta1".into()],
            stored: vec!["v1".into()],
            hash: None,
        }
    }

    const LEAST: Option<Version> = Some(Version::new(1, 4, 1));

    fn flux() -> Owner {
        Owner::Named("flux".into())
    }

    #[test]
    fn definitions_of_ours_are_applied_and_never_downgraded() {
        let same = bundled()
            .manifest
            .annotation(names::TEMPLATE_HASH_ANNOTATION)
            .map(str::to_owned);
        for (existing, verdict) in [
            (None, Verdict::Apply),
            (
                Some(existing(Owner::Applink, Some((1, 4, 1)))),
                Verdict::Apply,
            ),
            (
                Some(existing(Owner::Applink, Some((1, 5, 1)))),
                Verdict::Apply,
            ),
            (
                Some(Existing {
                    hash: same,
                    ..existing(Owner::Applink, Some((1, 5, 1)))
                }),
                Verdict::Current,
            ),
            (
                Some(existing(Owner::Applink, Some((1, 6, 0)))),
                Verdict::Newer {
                    installed: Version::new(1, 6, 0),
                },
            ),
            (Some(existing(Owner::Applink, None)), Verdict::Apply),
        ] {
            assert_eq!(
                judge(&bundled(), existing.as_ref(), LEAST),
                verdict,
                "{existing:?}"
            );
        }
    }

    #[test]
    fn a_definition_of_somebody_else_stays_when_it_will_do() {
        for version in [Some((1, 4, 1)), Some((1, 9, 0)), None] {
            let verdict = judge(&bundled(), Some(&existing(flux(), version)), LEAST);
            assert_eq!(verdict, Verdict::Foreign { owner: flux() }, "{version:?}");
        }
    }

    #[test]
    fn what_cannot_stay_is_said_with_its_owner() {
        let old = existing(flux(), Some((1, 2, 0)));
        let experimental = Existing {
            channel: Some("experimental".into()),
            ..existing(flux(), Some((1, 5, 1)))
        };
        let other = Existing {
            served: vec!["v1alpha2".into()],
            ..existing(Owner::Unknown, None)
        };
        let stored = Existing {
            stored: vec!["v1alpha2".into()],
            ..existing(Owner::Applink, Some((1, 4, 1)))
        };
        for (existing, because) in [
            (old, "1.4.1"),
            (experimental, "experimental"),
            (other, "v1beta1"),
            (stored, "v1alpha2"),
        ] {
            match judge(&bundled(), Some(&existing), LEAST) {
                Verdict::Unfit { owner, reason } => {
                    assert_eq!(owner, existing.owner);
                    assert!(reason.contains(because), "{reason}");
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn the_owner_is_read_from_labels_and_then_from_field_managers() {
        for (metadata, owner) in [
            (
                json!({"labels": {"app.kubernetes.io/managed-by": "applink"}}),
                Owner::Applink,
            ),
            (
                json!({"labels": {"app.kubernetes.io/managed-by": "Helm"}}),
                Owner::Named("Helm".into()),
            ),
            (
                json!({"managedFields": [{"manager": "kube-apiserver", "subresource": "status"}, {"manager": "flux"}]}),
                flux(),
            ),
            (json!({}), Owner::Unknown),
        ] {
            let definition: CustomResourceDefinition = serde_json::from_value(json!({
                "metadata": metadata,
                "spec": {"group": "g", "names": {"kind": "K", "plural": "ks"}, "scope": "Namespaced", "versions": []},
            }))
            .unwrap();
            assert_eq!(Existing::of(&definition).owner, owner);
        }
    }
}
