//! What was rendered for a member, by release: kept while what it was rendered from stays the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::blueprint::Blueprint;
use crate::catalogue::Version;
use crate::desired;
use crate::plan::Target;

/// The targets of one member: two while it moves between releases, else one.
#[derive(Default)]
pub struct Rendered {
    all: BTreeMap<Version, (Blueprint, Arc<Target>)>,
    last: Option<Version>,
}

impl Rendered {
    /// The blueprint that was asked for last.
    pub fn blueprint(&self) -> Option<&Blueprint> {
        self.all.get(&self.last?).map(|(blueprint, _)| blueprint)
    }

    /// The target of a blueprint, and whether it is a new one.
    pub fn target(&mut self, made: Blueprint) -> Result<(Arc<Target>, bool), desired::Error> {
        let version = made.release.version;
        self.last = Some(version);
        if let Some((known, target)) = self.all.get(&version)
            && *known == made
        {
            return Ok((Arc::clone(target), false));
        }
        let target = Arc::new(Target::of(&made)?);
        self.all.insert(version, (made, Arc::clone(&target)));
        Ok((target, true))
    }

    /// Forgets every release but these.
    pub fn keep(&mut self, versions: &[Version]) {
        self.all.retain(|version, _| versions.contains(version));
    }
}
