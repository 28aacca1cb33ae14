//! The certificate of one workload: chain, key, roots and life.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::server::ParsedCertificate;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Error, provider, uri_names};
use crate::identity::Identity;

/// Most certificates that are taken from one answer; real chains have two to five.
const MAX_CERTIFICATES: usize = 64;

/// A private key. Never printed.
#[derive(Clone)]
pub struct PrivateKey(Arc<PrivatePkcs8KeyDer<'static>>);

impl PrivateKey {
    /// A key from its PKCS #8 bytes.
    pub fn from_pkcs8(der: Vec<u8>) -> Self {
        Self(Arc::new(PrivatePkcs8KeyDer::from(der)))
    }

    pub(super) fn der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.0.clone_key())
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey")
    }
}

/// A certificate with all that is needed to use it.
#[derive(Debug, Clone)]
pub struct WorkloadCertificate {
    identity: Identity,
    /// Leaf first, then intermediates.
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKey,
    roots: Vec<CertificateDer<'static>>,
    root_store: Arc<RootCertStore>,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl WorkloadCertificate {
    /// Reads a signer's answer: PEM texts, leaf first, then intermediates; the last text holds the roots. One text may
    /// hold several certificates.
    ///
    /// # Errors
    /// [`Error::Chain`], [`Error::Pem`] or [`Error::Certificate`] when it cannot be read; [`Error::WrongIdentity`] when
    /// the leaf does not name `identity`.
    pub fn from_pem(identity: &Identity, texts: &[String], key: PrivateKey) -> Result<Self, Error> {
        let (last, rest) = texts.split_last().ok_or(Error::Chain("is empty"))?;
        let mut chain = Vec::new();
        for text in rest {
            read_into(&mut chain, text)?;
        }
        let mut roots = Vec::new();
        read_into(&mut roots, last)?;
        let leaf = chain
            .first()
            .ok_or(Error::Chain("has no leaf beside the roots"))?;
        let (_, parsed) =
            X509Certificate::from_der(leaf).map_err(|_| Error::Certificate("leaf"))?;
        let names = uri_names(leaf)?;
        if !names.iter().any(|name| name == identity.as_str()) {
            return Err(Error::WrongIdentity {
                asked: identity.clone(),
                got: names,
            });
        }
        let not_before = time(parsed.validity().not_before.timestamp());
        let not_after = time(parsed.validity().not_after.timestamp());
        let mut root_store = RootCertStore::empty();
        for root in &roots {
            root_store
                .add(root.clone())
                .map_err(|_| Error::Certificate("root"))?;
        }
        if root_store.is_empty() {
            return Err(Error::Chain("has no roots"));
        }
        let root_store = Arc::new(root_store);
        Ok(Self {
            identity: identity.clone(),
            chain,
            key,
            roots,
            root_store,
            not_before,
            not_after,
        })
    }

    /// Whose it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Leaf first, then intermediates; as presented to peers.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The roots peers are verified against.
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// The private key.
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// Start of its life.
    pub fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// End of its life.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Whether it may still be used.
    pub fn is_valid(&self, now: SystemTime) -> bool {
        now < self.not_after
    }

    /// The root, of those that came with it, that it is under at this time; `None` when it is under none of them, or not
    /// valid.
    pub fn root(&self, now: SystemTime) -> Option<&CertificateDer<'static>> {
        let (leaf, rest) = self.chain.split_first()?;
        let leaf = ParsedCertificate::try_from(leaf).ok()?;
        let now = UnixTime::since_unix_epoch(now.duration_since(SystemTime::UNIX_EPOCH).ok()?);
        let provider = provider();
        let algorithms = provider.signature_verification_algorithms.all;
        self.roots.iter().find(|root| {
            let mut alone = RootCertStore::empty();
            alone.add((*root).clone()).is_ok()
                && verify_server_cert_signed_by_trust_anchor(&leaf, &alone, rest, now, algorithms)
                    .is_ok()
        })
    }

    pub(super) fn root_store(&self) -> &Arc<RootCertStore> {
        &self.root_store
    }
}

fn read_into(certificates: &mut Vec<CertificateDer<'static>>, text: &str) -> Result<(), Error> {
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        if certificates.len() >= MAX_CERTIFICATES {
            return Err(Error::Chain("has more than 64 certificates"));
        }
        certificates.push(certificate.map_err(|source| Error::Pem(Arc::new(source)))?);
    }
    Ok(())
}

/// Seconds since 1970 as a time; before 1970 counts as 1970.
fn time(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}
