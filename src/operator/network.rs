//! Networks: whose root is whose, and what is told about each.

use jiff::Timestamp;
use tracing::warn;

use super::pass::{Operator, SOON, Seen, earlier};
use super::world::World;
use super::{authority, survey};
use crate::api::conditions::Reason;
use crate::api::v1alpha1::{ApplicationNetwork, MeshMember, RootCertificate};
use crate::status::{self, Failure, NetworkOutcome};
use crate::trust::{Fingerprint, Found, Recorded};

impl Operator {
    /// The network of a member, if it exists.
    pub(super) fn network(&self, seen: &Seen<'_>) -> Option<ApplicationNetwork> {
        let name = seen.member.spec.effective_network();
        let all = self.world.networks.all();
        all.get(name).and_then(|own| own.0.as_ref().ok().cloned())
    }

    /// Tells how each network does. Returns when to try again what could not be told.
    pub(super) async fn networks(
        &mut self,
        members: &[MeshMember],
        now: Timestamp,
    ) -> Option<Timestamp> {
        let mut next = None;
        for (name, own) in self.world.networks.all() {
            let Ok(network) = &own.0 else { continue };
            let counted: Vec<MeshMember> = members
                .iter()
                .map(|member| self.reporter.newest(member))
                .collect();
            let root = authority::root(&self.world, &name);
            let recorded = network
                .status
                .as_ref()
                .and_then(|status| status.root_certificate.as_ref());
            let (root, failure) = match root {
                Found::Good(found)
                    if recorded.is_none_or(|recorded| {
                        Fingerprint::recorded(&recorded.fingerprint) == found.fingerprint
                    }) =>
                {
                    let root = RootCertificate {
                        fingerprint: found.fingerprint.as_str().to_owned(),
                        not_after: survey::certificate("root", &found).not_after,
                    };
                    (Some(root), None)
                }
                found => (
                    None,
                    recorded.map(|_| lost_root(&self.world, &name, recorded, &found)),
                ),
            };
            let outcome = NetworkOutcome {
                generation: network.metadata.generation,
                members: status::count(&name, &counted),
                root,
                failure: failure.flatten(),
            };
            let status = status::next_network(network.status.as_ref(), &outcome, now);
            if let Err(error) = self.reporter.network(&self.client, network, &status).await {
                warn!(network = name, error = %super::chain(&error), "cannot report");
                earlier(&mut next, now.checked_add(SOON).ok());
            }
        }
        next
    }
}

/// Why a network's recorded root is not the one found.
fn lost_root(
    world: &World,
    network: &str,
    recorded: Option<&RootCertificate>,
    _found: &Found<crate::trust::Certificate>,
) -> Option<Failure> {
    let recorded = Recorded {
        root: recorded.map(|root| Fingerprint::recorded(&root.fingerprint)),
        intermediate: None,
    };
    match authority::decided(world, network, &recorded) {
        crate::trust::Decision::Stalled(problem) => Some(Failure {
            reason: Reason::RootMissing,
            message: problem.to_string(),
            is_terminal: true,
        }),
        _ => None,
    }
}
