//! Who the peer is: chains against the mesh's roots, names against expected identities. Host names play no role.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Error, WorkloadCertificate, provider};
use crate::identity::Identity;

/// The URI names of a certificate.
///
/// # Errors
/// [`Error::Certificate`] when the bytes are not a certificate.
pub fn uri_names(certificate: &CertificateDer<'_>) -> Result<Vec<String>, Error> {
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|_| Error::Certificate("peer's"))?;
    let names = parsed
        .subject_alternative_name()
        .map_err(|_| Error::Certificate("peer's"))?;
    let Some(names) = names else {
        return Ok(Vec::new());
    };
    let uris = names
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some((*uri).to_owned()),
            _ => None,
        });
    Ok(uris.collect())
}

/// The one identity a certificate names. A certificate with several URI names proves none of them (SPIFFE X.509-SVID,
/// section 2).
///
/// # Errors
/// [`Error::PeerIdentity`] when there is not exactly one, or it is not a SPIFFE id of a workload.
pub fn peer_identity(certificate: &CertificateDer<'_>) -> Result<Identity, Error> {
    let names = uri_names(certificate)?;
    match names.as_slice() {
        [name] => name.parse().map_err(|_| Error::PeerIdentity(names.clone())),
        _ => Err(Error::PeerIdentity(names)),
    }
}

/// Verifies servers: a chain to a root and any URI name among the expected identities.
#[derive(Debug)]
pub(super) struct Servers {
    roots: Arc<RootCertStore>,
    expected: Vec<Identity>,
    provider: Arc<CryptoProvider>,
}

impl Servers {
    pub(super) fn new(own: &WorkloadCertificate, expected: &[Identity]) -> Self {
        Self {
            roots: Arc::clone(own.root_store()),
            expected: expected.to_vec(),
            provider: provider(),
        }
    }
}

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            algorithms,
        )?;
        let got = uri_names(end_entity).map_err(refused)?;
        if got.iter().any(|name| {
            self.expected
                .iter()
                .any(|expected| expected.as_str() == name)
        }) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(refused(Error::Unexpected {
            expected: self.expected.clone(),
            got,
        }))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Verifies clients: a chain to a root and one identity of our own trust domain.
#[derive(Debug)]
pub(super) struct Clients {
    chain: Arc<dyn ClientCertVerifier>,
    trust_domain: String,
}

impl Clients {
    pub(super) fn new(own: &WorkloadCertificate) -> Result<Self, Error> {
        let chain =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(own.root_store()), provider())
                .build()
                .map_err(|source| Error::Key(Arc::new(source)))?;
        Ok(Self {
            chain,
            trust_domain: own.identity().trust_domain().to_owned(),
        })
    }
}

impl ClientCertVerifier for Clients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Peers have one certificate each: a hint only makes the handshake longer.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self
            .chain
            .verify_client_cert(end_entity, intermediates, now)?;
        let peer = peer_identity(end_entity).map_err(refused)?;
        if peer.trust_domain() != self.trust_domain {
            return Err(refused(Error::TrustDomain {
                peer,
                own: self.trust_domain.clone(),
            }));
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Our reason in the form `rustls` carries; the peer only sees an alert.
fn refused(reason: Error) -> rustls::Error {
    CertificateError::Other(OtherError(Arc::new(reason))).into()
}
