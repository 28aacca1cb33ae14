//! Releases in the cluster: the catalogue they add up to, and what is told about each.

use jiff::Timestamp;
use tracing::warn;

use super::pass::{Operator, SOON, earlier};
use crate::catalogue::Catalogue;
use crate::status;

impl Operator {
    /// The embedded catalogue under the releases in the cluster.
    pub(super) fn catalogue(&self) -> Catalogue {
        let releases = self.world.releases.all();
        Catalogue::overlaid(releases.values().filter_map(|own| own.0.as_ref().ok()))
    }

    /// Tells what became of each release. Returns when to try again what could not be told.
    pub(super) async fn releases(
        &mut self,
        catalogue: &Catalogue,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let mut next = None;
        for (name, own) in self.world.releases.all() {
            let Ok(release) = &own.0 else { continue };
            let generation = release.metadata.generation;
            let status = status::next_release(
                release.status.as_ref(),
                generation,
                catalogue.refused().get(&name),
                now,
            );
            if let Err(error) = self.reporter.release(&self.client, release, &status).await {
                warn!(release = name, error = %super::chain(&error), "cannot report");
                earlier(&mut next, now.checked_add(SOON).ok());
            }
        }
        next
    }
}
