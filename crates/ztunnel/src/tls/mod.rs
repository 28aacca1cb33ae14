//! TLS between workloads: certificates, configurations, verification of SPIFFE identities.
//!
//! Layer 5. Builds configurations that the tunnel engine alone opens; opens no sockets. TLS 1.3 only, ALPN `h2`, no server name, no resumption,
//! no early data, so that every connection proves both identities.

mod certificate;
mod verify;

use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::{ClientConfig, ServerConfig};
use thiserror::Error;

use crate::identity::Identity;
pub use certificate::{PrivateKey, WorkloadCertificate};
pub use verify::{peer_identity, uri_names};

/// The protocol inside the tunnel.
pub const ALPN_H2: &[u8] = b"h2";

/// Why a certificate or a configuration cannot be used.
#[derive(Debug, Clone, Error)]
pub enum Error {
    /// The signer's answer holds no usable chain.
    #[error("the certificate chain {0}")]
    Chain(&'static str),
    /// A PEM block cannot be read.
    #[error("a PEM block of the certificate chain cannot be read")]
    Pem(#[source] Arc<rustls_pki_types::pem::Error>),
    /// A certificate cannot be read.
    #[error("the {0} certificate cannot be read")]
    Certificate(&'static str),
    /// The certificate is for somebody else.
    #[error("asked for a certificate of {asked} and got one of {got:?}")]
    WrongIdentity {
        /// Who it was asked for.
        asked: Identity,
        /// URI names it has.
        got: Vec<String>,
    },
    /// The key pair cannot be made or used.
    #[error("the private key cannot be used")]
    Key(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// `rustls` refuses the configuration.
    #[error("the TLS configuration is refused")]
    Config(#[from] rustls::Error),
    /// The peer's certificate has no URI name that is an identity, or several.
    #[error("the peer's certificate must name exactly one SPIFFE identity, it has {0:?}")]
    PeerIdentity(Vec<String>),
    /// The peer belongs to another mesh.
    #[error("the peer {peer} is not of the trust domain {own:?}")]
    TrustDomain {
        /// The peer.
        peer: Identity,
        /// Our trust domain.
        own: String,
    },
    /// The peer is somebody else.
    #[error("expected one of {expected:?}, the peer's certificate names {got:?}")]
    Unexpected {
        /// Who was expected.
        expected: Vec<Identity>,
        /// URI names of the peer.
        got: Vec<String>,
    },
}

/// The algorithms of workload connections, in upstream's order: AES-256 and AES-128 in GCM; x25519, P-256, P-384 and
/// the hybrid X25519MLKEM768.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        Arc::new(CryptoProvider {
            cipher_suites: vec![
                cipher_suite::TLS13_AES_256_GCM_SHA384,
                cipher_suite::TLS13_AES_128_GCM_SHA256,
            ],
            ..aws_lc_rs::default_provider()
        })
    });
    Arc::clone(&PROVIDER)
}

/// How a workload takes connections: its certificate, and whom it believes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Acceptor(Arc<ServerConfig>);

/// How a workload makes connections: its certificate, and whom it expects. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Connector(Arc<ClientConfig>);

impl Acceptor {
    /// For the handshake of the tunnel engine, and for nobody else.
    pub(crate) fn rustls(self) -> Arc<ServerConfig> {
        self.0
    }
}

impl Connector {
    /// For the handshake of the tunnel engine, and for nobody else.
    pub(crate) fn rustls(self) -> Arc<ClientConfig> {
        self.0
    }
}

/// Accepts tunnels for the workload of this certificate, from any identity of the same trust domain.
///
/// # Errors
/// [`Error::Config`] when the key does not fit the certificate or a root is unusable.
pub fn server_config(certificate: &WorkloadCertificate) -> Result<Acceptor, Error> {
    let verifier = verify::Clients::new(certificate)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(certificate.chain().to_vec(), certificate.key().der())?;
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(Acceptor(Arc::new(config)))
}

/// Opens tunnels as the workload of this certificate, to a peer that must prove one of the `expected` identities.
///
/// # Errors
/// [`Error::Config`] when the key does not fit the certificate.
pub fn client_config(
    certificate: &WorkloadCertificate,
    expected: &[Identity],
) -> Result<Connector, Error> {
    let verifier = verify::Servers::new(certificate, expected);
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(certificate.chain().to_vec(), certificate.key().der())?;
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    config.enable_sni = false;
    config.enable_early_data = false;
    Ok(Connector(Arc::new(config)))
}

#[cfg(test)]
pub(crate) mod tests;
