//! A time in which automatic work does not start.

use jiff::Timestamp;

use super::calendar::Work;
use super::fault::Fault;
use crate::api::v1alpha1;
use crate::api::v1alpha1::ExclusionScope;

/// A time in which automatic work, or a part of it, does not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exclusion {
    /// What it is for.
    pub name: String,
    /// The first moment.
    pub from: Timestamp,
    /// The moment after the last.
    pub to: Timestamp,
    /// What it holds back.
    pub scope: ExclusionScope,
}

impl Exclusion {
    /// # Errors
    /// It ends before it begins.
    pub(super) fn read(exclusion: &v1alpha1::Exclusion) -> Result<Self, Fault> {
        let v1alpha1::Exclusion {
            name,
            from,
            to,
            scope,
        } = exclusion;
        if from.0 >= to.0 {
            return Err(Fault::EmptyExclusion { name: name.clone() });
        }
        Ok(Self {
            name: name.clone(),
            from: from.0,
            to: to.0,
            scope: scope.unwrap_or_default(),
        })
    }

    /// Whether it holds at a moment.
    pub fn holds(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.to
    }

    /// Whether it is about this kind of work at all.
    pub const fn concerns(&self, work: Work) -> bool {
        match self.scope {
            ExclusionScope::NoUpgrades => true,
            ExclusionScope::NoMinorUpgrades => work.is_minor,
        }
    }
}
