//! Withdrawals that a member has seen, and what stays of them when the object that told of them is deleted.

use super::{Catalogue, Source, Version};
use crate::api::v1alpha1::{MAX_WITHDRAWALS, Withdrawal};

impl Catalogue {
    /// What a member has seen by now: what it knew, and what `MeshReleases` say. One that says a version is good again is
    /// believed; one that is gone takes nothing back. The newest versions are kept.
    pub fn withdrawals(&self, known: &[Withdrawal]) -> Vec<Withdrawal> {
        let mut all: Vec<(Version, Withdrawal)> = known
            .iter()
            .filter_map(|one| Some((one.version.parse().ok()?, one.clone())))
            .filter(|(version, _)| {
                self.releases
                    .get(version)
                    .is_none_or(|release| release.source != Source::Object)
            })
            .collect();
        all.extend(
            self.releases
                .values()
                .filter(|release| release.source == Source::Object)
                .filter_map(|release| {
                    let reason = release.withdrawn.as_ref()?;
                    let one = Withdrawal {
                        version: release.version.to_string(),
                        reason: reason.chars().take(512).collect(),
                    };
                    Some((release.version, one))
                }),
        );
        all.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
        all.dedup_by(|a, b| a.0 == b.0);
        all.truncate(MAX_WITHDRAWALS);
        all.into_iter().map(|(_, one)| one).collect()
    }

    /// The catalogue as a member sees it that has seen these withdrawals.
    #[must_use]
    pub fn remembering(&self, withdrawals: &[Withdrawal]) -> Self {
        let mut catalogue = self.clone();
        for one in withdrawals {
            let entry = one
                .version
                .parse()
                .ok()
                .and_then(|version: Version| catalogue.releases.get_mut(&version));
            if let Some(release) = entry
                && release.source != Source::Object
            {
                release.withdrawn.get_or_insert_with(|| one.reason.clone());
            }
        }
        catalogue
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{object, v, withdrawn};
    use super::*;

    fn reason(catalogue: &Catalogue, version: &str) -> Option<String> {
        catalogue.get(v(version)).unwrap().withdrawn.clone()
    }

    #[test]
    fn a_withdrawal_outlives_the_object_that_told_of_it() {
        let told = withdrawn("1.6.0");
        let seen = Catalogue::overlaid([&told]).withdrawals(&[]);
        assert_eq!(seen.len(), 1);
        // The object is deleted: the embedded entry is there again, and stays withdrawn for who saw it.
        let later = Catalogue::embedded();
        assert_eq!(reason(&later, "1.6.0"), None);
        let seen = later.withdrawals(&seen);
        let remembered = later.remembering(&seen);
        assert!(reason(&remembered, "1.6.0").is_some());
        assert_eq!(reason(&remembered, "1.5.4"), None);
    }

    #[test]
    fn an_object_that_says_the_version_is_good_again_is_believed() {
        let seen = Catalogue::overlaid([&withdrawn("1.6.0")]).withdrawals(&[]);
        let good = object("1.6.0");
        let later = Catalogue::overlaid([&good]);
        assert_eq!(later.withdrawals(&seen), []);
        assert_eq!(reason(&later.remembering(&seen), "1.6.0"), None);
    }

    #[test]
    fn the_newest_are_kept_and_what_cannot_be_read_is_dropped() {
        let known: Vec<Withdrawal> = (0..40)
            .map(|patch| Withdrawal {
                version: format!("1.3.{patch}"),
                reason: "bad".to_owned(),
            })
            .chain([Withdrawal {
                version: "nonsense".to_owned(),
                reason: String::new(),
            }])
            .collect();
        let kept = Catalogue::embedded().withdrawals(&known);
        assert_eq!(kept.len(), MAX_WITHDRAWALS);
        assert_eq!(kept[0].version, "1.3.39");
    }
}
