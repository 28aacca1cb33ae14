//! Reading certificates and keys that somebody else may have written, and finding what is wrong with them.

use std::fmt::{self, Write};

use aws_lc_rs::digest;
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::key::PrivateKey;

/// The longest PEM text that is looked at, in bytes: a chain of two is below 2 KiB.
const LONGEST_PEM: usize = 64 * 1024;

/// SHA-256 of a certificate's DER form, in lower case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// The fingerprint of a certificate.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        let hash = digest::digest(&digest::SHA256, der);
        let mut text = String::with_capacity(64);
        for byte in hash.as_ref() {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    /// A fingerprint that was recorded earlier, as it is.
    #[must_use]
    pub fn recorded(text: &str) -> Self {
        Self(text.to_ascii_lowercase())
    }

    /// The 64 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A certificate of an authority, read and found in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// When it ends.
    pub not_after: Timestamp,
    /// The certificate itself.
    pub(super) der: Vec<u8>,
}

/// What is wrong with an authority that was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// A key of the Secret is absent.
    #[error("key {0} is missing")]
    Absent(&'static str),
    /// A key of the Secret is no PEM text, or an endless one.
    #[error("key {0} is no PEM text of at most 64 KiB")]
    NotPem(&'static str),
    /// A PEM text holds no certificate.
    #[error("key {0} holds no certificate that can be read")]
    NotACertificate(&'static str),
    /// A PEM text holds no private key.
    #[error("key {0} holds no private key that can be read")]
    NotAKey(&'static str),
    /// The certificate may not sign others.
    #[error("the certificate in {0} is not one of a certificate authority")]
    NotAnAuthority(&'static str),
    /// The certificate has ended, or has not begun.
    #[error("the certificate in {key} is valid only from {from} to {to}")]
    OutOfTime {
        /// Where it is.
        key: &'static str,
        /// When it begins.
        from: Timestamp,
        /// When it ends.
        to: Timestamp,
    },
    /// The private key belongs to another certificate.
    #[error("the private key in {key} does not belong to the certificate in {certificate}")]
    KeyMismatch {
        /// Where the private key is.
        key: &'static str,
        /// Where the certificate is.
        certificate: &'static str,
    },
    /// The intermediate is not signed by the root beside it.
    #[error("the certificate in {0} is not signed by the root beside it")]
    NotChained(&'static str),
}

/// The first certificate of a PEM text, which must be an authority's and within its time.
pub(super) fn authority(
    key: &'static str,
    pem: Option<&[u8]>,
    now: Timestamp,
) -> Result<Certificate, Defect> {
    let pem = pem.ok_or(Defect::Absent(key))?;
    if pem.len() > LONGEST_PEM {
        return Err(Defect::NotPem(key));
    }
    let block = Pem::iter_from_buffer(pem)
        .next()
        .and_then(Result::ok)
        .ok_or(Defect::NotPem(key))?;
    if block.label != "CERTIFICATE" {
        return Err(Defect::NotACertificate(key));
    }
    // The text is handed on as it is, to readers that are stricter about its frame than this one.
    let strict = CertificateDer::from_pem_slice(pem).map_err(|_| Defect::NotPem(key))?;
    if *strict != *block.contents {
        return Err(Defect::NotPem(key));
    }
    let certificate = parsed(&block.contents).ok_or(Defect::NotACertificate(key))?;
    if !certificate.is_ca() {
        return Err(Defect::NotAnAuthority(key));
    }
    let moment =
        |seconds| Timestamp::from_second(seconds).map_err(|_| Defect::NotACertificate(key));
    let from = moment(certificate.validity().not_before.timestamp())?;
    let to = moment(certificate.validity().not_after.timestamp())?;
    if now < from || now > to {
        return Err(Defect::OutOfTime { key, from, to });
    }
    Ok(Certificate {
        fingerprint: Fingerprint::of(&block.contents),
        not_after: to,
        der: block.contents.clone(),
    })
}

/// The private key of a PEM text, which must belong to the certificate.
pub(super) fn private_key(
    key: &'static str,
    pem: Option<&[u8]>,
    certificate_key: &'static str,
    certificate: &Certificate,
) -> Result<PrivateKey, Defect> {
    let pem = pem.ok_or(Defect::Absent(key))?;
    if pem.len() > LONGEST_PEM {
        return Err(Defect::NotPem(key));
    }
    let text = std::str::from_utf8(pem).map_err(|_| Defect::NotPem(key))?;
    let private = PrivateKey::from_pem(text.to_owned());
    let pair = rcgen::KeyPair::from_pem(private.expose_pem()).map_err(|_| Defect::NotAKey(key))?;
    let public = parsed(&certificate.der)
        .map(|certificate| certificate.public_key().subject_public_key.data.to_vec())
        .ok_or(Defect::NotACertificate(certificate_key))?;
    if public != pair.public_key_raw() {
        return Err(Defect::KeyMismatch {
            key,
            certificate: certificate_key,
        });
    }
    Ok(private)
}

/// Is one certificate signed by the other?
pub(super) fn is_signed_by(certificate: &Certificate, issuer: &Certificate) -> bool {
    let (Some(certificate), Some(issuer)) = (parsed(&certificate.der), parsed(&issuer.der)) else {
        return false;
    };
    certificate.issuer() == issuer.subject()
        && certificate
            .verify_signature(Some(issuer.public_key()))
            .is_ok()
}

fn parsed(der: &[u8]) -> Option<X509Certificate<'_>> {
    X509Certificate::from_der(der)
        .ok()
        .map(|(_, certificate)| certificate)
}
