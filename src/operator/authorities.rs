//! A member's certificates in a pass: what its status records, what is found, what that means.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::error::Error;
use super::pass::{Operator, Seen};
use super::rendered::Rendered;
use super::signing::Mesh;
use super::world::Keys;
use super::{authority, survey};
use crate::api::v1alpha1::ApplicationNetwork;
use crate::names;
use crate::plan::Target;
use crate::status::Outcome;
use crate::trust::{Fingerprint, Recorded};

impl Operator {
    /// Makes or finds the authorities. True when trust stands still.
    pub(super) async fn trust(
        &mut self,
        seen: &Seen<'_>,
        network_name: &str,
        network: Option<&ApplicationNetwork>,
        outcome: &mut Outcome,
    ) -> Result<bool, Error> {
        let newest = self.reporter.newest(seen.member);
        let of_member = |what: &str| {
            newest
                .status
                .iter()
                .flat_map(|status| &status.certificates)
                .find(|certificate| certificate.what == what)
                .map(|certificate| Fingerprint::recorded(&certificate.fingerprint))
        };
        let of_network = network
            .and_then(|network| network.status.as_ref())
            .and_then(|status| status.root_certificate.as_ref())
            .map(|root| Fingerprint::recorded(&root.fingerprint));
        let recorded = Recorded {
            root: of_network.or_else(|| of_member("root")),
            intermediate: of_member("intermediate"),
        };
        let made = authority::ensure(
            &self.client,
            &self.world,
            network_name,
            &seen.name,
            &recorded,
            seen.now,
        )
        .await?;
        match made {
            Ok(authorities) => {
                outcome.certificates = Some(vec![
                    survey::certificate("root", &authorities.root),
                    survey::certificate("intermediate", &authorities.intermediate),
                ]);
                Ok(false)
            }
            Err(failure) => {
                outcome.failure = Some(failure);
                Ok(true)
            }
        }
    }

    /// What istiod of this target must be.
    pub(super) fn mesh(&self, target: &Target) -> Mesh {
        let member = &target.owner.name;
        let trust_domain = self
            .targets
            .get(member)
            .and_then(Rendered::blueprint)
            .map(|blueprint| blueprint.trust_domain.clone())
            .unwrap_or_default();
        Mesh {
            roots: self.roots(),
            host: format!("{}.{}.svc", target.istiod, names::SYSTEM_NAMESPACE),
            cluster: member.clone(),
            trust_domain,
        }
    }

    fn roots(&self) -> Vec<CertificateDer<'static>> {
        match self
            .world
            .cacerts
            .all()
            .get(names::CACERTS_SECRET)
            .map(AsRef::as_ref)
        {
            Some(Keys::Pair(Ok((_, _, pem)))) => CertificateDer::pem_slice_iter(pem)
                .filter_map(Result::ok)
                .collect(),
            _ => Vec::new(),
        }
    }
}
