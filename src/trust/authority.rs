//! The two kinds of authority: a network's root, and a member's intermediate under it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::Error;
use super::decision::Subject;
use super::key::PrivateKey;
use super::reading::{self, Certificate, Defect};

/// How long an authority lives: ten years of 365.25 days, in seconds.
pub const LIFE: i64 = 315_576_000;
/// How far the clocks of nodes may lag behind ours, in seconds.
const SKEW: i64 = 3_600;

const ROOT_CERTIFICATE: &str = "root-cert.pem";
const ROOT_KEY: &str = "root-key.pem";
const CA_CERTIFICATE: &str = "ca-cert.pem";
const CA_KEY: &str = "ca-key.pem";
const CHAIN: &str = "cert-chain.pem";

/// A network's root: certificate and private key.
#[derive(Clone, Debug)]
pub struct Authority {
    /// The certificate.
    pub certificate: Certificate,
    pem: String,
    key: PrivateKey,
}

impl Authority {
    /// A new root for a network. Draws a key and a serial number.
    ///
    /// # Errors
    /// [`Error::Mint`] when the system has no randomness or signing fails.
    pub fn mint(network: &str, now: Timestamp) -> Result<Self, Error> {
        let mint = |source| Error::Mint {
            what: Subject::Root,
            source,
        };
        let pair = KeyPair::generate().map_err(mint)?;
        let params = parameters(
            "applink root authority",
            network,
            None,
            now,
            now.as_second().saturating_add(LIFE),
        );
        let certificate = params.self_signed(&pair).map_err(mint)?;
        Self::read(
            &Self::data(
                &certificate.pem(),
                &PrivateKey::from_pem(pair.serialize_pem()),
            ),
            now,
        )
        .map_err(Error::Root)
    }

    /// The root in a Secret's data.
    ///
    /// # Errors
    /// The first [`Defect`] found.
    pub fn read(data: &BTreeMap<String, Vec<u8>>, now: Timestamp) -> Result<Self, Defect> {
        let pem = data.get(ROOT_CERTIFICATE).map(Vec::as_slice);
        let certificate = reading::authority(ROOT_CERTIFICATE, pem, now)?;
        let key = reading::private_key(
            ROOT_KEY,
            data.get(ROOT_KEY).map(Vec::as_slice),
            ROOT_CERTIFICATE,
            &certificate,
        )?;
        Ok(Self {
            certificate,
            pem: text(pem),
            key,
        })
    }

    /// The data of the Secret that keeps the root: `root-cert.pem`, `root-key.pem`.
    #[must_use]
    pub fn secret_data(&self) -> BTreeMap<String, Vec<u8>> {
        Self::data(&self.pem, &self.key)
    }

    fn data(pem: &str, key: &PrivateKey) -> BTreeMap<String, Vec<u8>> {
        BTreeMap::from([
            (ROOT_CERTIFICATE.to_owned(), pem.as_bytes().to_vec()),
            (ROOT_KEY.to_owned(), key.expose_pem().as_bytes().to_vec()),
        ])
    }
}

/// A member's intermediate: what istiod signs with.
#[derive(Clone, Debug)]
pub struct Intermediate {
    /// The intermediate certificate.
    pub certificate: Certificate,
    /// The root it is chained to.
    pub root: Certificate,
    pem: String,
    root_pem: String,
    key: PrivateKey,
}

impl Intermediate {
    /// A new intermediate for a member under this root: path length 0, ends no later than the root. Draws a key and a
    /// serial number.
    ///
    /// # Errors
    /// [`Error::Mint`] when the system has no randomness or signing fails.
    pub fn mint(member: &str, root: &Authority, now: Timestamp) -> Result<Self, Error> {
        let mint = |source| Error::Mint {
            what: Subject::Intermediate,
            source,
        };
        let pair = KeyPair::generate().map_err(mint)?;
        let root_pair = KeyPair::from_pem(root.key.expose_pem()).map_err(mint)?;
        let issuer = Issuer::from_ca_cert_pem(&root.pem, root_pair).map_err(mint)?;
        let end = now
            .as_second()
            .saturating_add(LIFE)
            .min(root.certificate.not_after.as_second());
        let params = parameters("applink intermediate authority", member, Some(0), now, end);
        let certificate = params.signed_by(&pair, &issuer).map_err(mint)?;
        let key = PrivateKey::from_pem(pair.serialize_pem());
        Self::read(&Self::data(&certificate.pem(), &root.pem, &key), now).map_err(Error::Root)
    }

    /// The intermediate in the data of `cacerts`.
    ///
    /// # Errors
    /// The first [`Defect`] found.
    pub fn read(data: &BTreeMap<String, Vec<u8>>, now: Timestamp) -> Result<Self, Defect> {
        let of = |key: &str| data.get(key).map(Vec::as_slice);
        let certificate = reading::authority(CA_CERTIFICATE, of(CA_CERTIFICATE), now)?;
        let root = reading::authority(ROOT_CERTIFICATE, of(ROOT_CERTIFICATE), now)?;
        if !reading::is_signed_by(&certificate, &root) {
            return Err(Defect::NotChained(CA_CERTIFICATE));
        }
        let first_of_chain = reading::authority(CHAIN, of(CHAIN), now)?;
        if first_of_chain.fingerprint != certificate.fingerprint {
            return Err(Defect::NotChained(CHAIN));
        }
        let key = reading::private_key(CA_KEY, of(CA_KEY), CA_CERTIFICATE, &certificate)?;
        Ok(Self {
            certificate,
            root,
            pem: text(of(CA_CERTIFICATE)),
            root_pem: text(of(ROOT_CERTIFICATE)),
            key,
        })
    }

    /// The data of `cacerts`: `ca-cert.pem`, `ca-key.pem`, `root-cert.pem`, `cert-chain.pem` (intermediate, then root).
    #[must_use]
    pub fn secret_data(&self) -> BTreeMap<String, Vec<u8>> {
        Self::data(&self.pem, &self.root_pem, &self.key)
    }

    fn data(pem: &str, root: &str, key: &PrivateKey) -> BTreeMap<String, Vec<u8>> {
        BTreeMap::from([
            (CA_CERTIFICATE.to_owned(), pem.as_bytes().to_vec()),
            (CA_KEY.to_owned(), key.expose_pem().as_bytes().to_vec()),
            (ROOT_CERTIFICATE.to_owned(), root.as_bytes().to_vec()),
            (
                CHAIN.to_owned(),
                format!("{}\n{root}", pem.trim_end()).into_bytes(),
            ),
        ])
    }
}

/// Parameters of a certificate authority that begins an hour ago and ends at `end` (seconds since 1970).
fn parameters(
    organization: &str,
    name: &str,
    path_length: Option<u8>,
    now: Timestamp,
    end: i64,
) -> CertificateParams {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, organization);
    // Names of networks and members have at most 63 characters; a common name may have 64.
    subject.push(DnType::CommonName, name);
    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    params.not_before = moment(now.as_second().saturating_sub(SKEW));
    params.not_after = moment(end);
    params.is_ca = IsCa::Ca(path_length.map_or(
        BasicConstraints::Unconstrained,
        BasicConstraints::Constrained,
    ));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params
}

/// A moment as the certificate library takes it.
fn moment<T>(seconds: i64) -> T
where
    T: From<std::time::SystemTime>,
{
    let after = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    T::from(std::time::UNIX_EPOCH + after)
}

fn text(pem: Option<&[u8]>) -> String {
    String::from_utf8_lossy(pem.unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-21T09:00:00Z".parse().unwrap()
    }

    fn later(years: i64) -> Timestamp {
        Timestamp::from_second(now().as_second() + years * 31_557_600).unwrap()
    }

    fn intermediate() -> Intermediate {
        Intermediate::mint("edge", &Authority::mint("campus", now()).unwrap(), now()).unwrap()
    }

    /// The same data with one key changed.
    fn with(key: &str, value: Option<Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
        let mut data = intermediate().secret_data();
        match value {
            Some(value) => data.insert(key.to_owned(), value),
            None => data.remove(key),
        };
        data
    }

    #[test]
    fn a_root_reads_back_from_its_secret() {
        let root = Authority::mint("campus", now()).unwrap();
        let read = Authority::read(&root.secret_data(), now()).unwrap();
        assert_eq!(read.certificate, root.certificate);
        assert_eq!(read.secret_data(), root.secret_data());
        assert_eq!(root.certificate.not_after, later(10));
        assert_eq!(root.certificate.fingerprint.as_str().len(), 64);
    }

    #[test]
    fn an_intermediate_reads_back_and_names_its_root() {
        let root = Authority::mint("campus", now()).unwrap();
        let member = Intermediate::mint("edge", &root, now()).unwrap();
        let read = Intermediate::read(&member.secret_data(), now()).unwrap();
        assert_eq!(read.certificate, member.certificate);
        assert_eq!(read.root, root.certificate);
        let keys: Vec<_> = member.secret_data().into_keys().collect();
        assert_eq!(keys, [CA_CERTIFICATE, CA_KEY, CHAIN, ROOT_CERTIFICATE]);
    }

    #[test]
    fn an_intermediate_has_path_length_zero_and_no_name_constraints() {
        use x509_parser::prelude::{FromDer, X509Certificate};
        let member = intermediate();
        let (_, certificate) = X509Certificate::from_der(&member.certificate.der).unwrap();
        let constraints = certificate.basic_constraints().unwrap().unwrap();
        assert!(constraints.critical && constraints.value.ca);
        assert_eq!(constraints.value.path_len_constraint, Some(0));
        assert!(certificate.name_constraints().unwrap().is_none());
        assert!(
            certificate
                .key_usage()
                .unwrap()
                .unwrap()
                .value
                .key_cert_sign()
        );
        assert_eq!(
            certificate.signature_algorithm.algorithm.to_id_string(),
            "1.2.840.10045.4.3.2"
        );
    }

    #[test]
    fn the_chain_is_the_intermediate_then_the_root() {
        let member = intermediate();
        let data = member.secret_data();
        let blocks: Vec<_> = x509_parser::pem::Pem::iter_from_buffer(&data[CHAIN])
            .map(|block| block.unwrap().contents)
            .collect();
        assert_eq!(blocks, [member.certificate.der, member.root.der]);
    }

    #[test]
    fn an_intermediate_never_outlives_its_root() {
        let root = Authority::mint("campus", now()).unwrap();
        let member = Intermediate::mint("edge", &root, later(4)).unwrap();
        assert_eq!(member.certificate.not_after, root.certificate.not_after);
    }

    fn without_last_dash(key: &str) -> Vec<u8> {
        let text = String::from_utf8(intermediate().secret_data()[key].clone()).unwrap();
        text.replacen("CERTIFICATE-----\n", "CERTIFICATE----\n", 2)
            .replacen("CERTIFICATE----\n", "CERTIFICATE-----\n", 1)
            .into_bytes()
    }

    #[test]
    fn what_is_wrong_with_cacerts_is_named() {
        let other = intermediate().secret_data();
        for (data, defect) in [
            (with(CA_CERTIFICATE, None), Defect::Absent(CA_CERTIFICATE)),
            (with(CA_KEY, None), Defect::Absent(CA_KEY)),
            (with(CHAIN, None), Defect::Absent(CHAIN)),
            (
                with(CA_CERTIFICATE, Some(b"hello".to_vec())),
                Defect::NotPem(CA_CERTIFICATE),
            ),
            // A frame that is not whole: some readers take it, istiod does not.
            (
                with(CA_CERTIFICATE, Some(without_last_dash(CA_CERTIFICATE))),
                Defect::NotPem(CA_CERTIFICATE),
            ),
            (
                with(CA_CERTIFICATE, Some(vec![b'a'; 70_000])),
                Defect::NotPem(CA_CERTIFICATE),
            ),
            (
                with(CA_CERTIFICATE, Some(other[CA_KEY].clone())),
                Defect::NotACertificate(CA_CERTIFICATE),
            ),
            (
                with(CA_KEY, Some(b"-----BEGIN".to_vec())),
                Defect::NotAKey(CA_KEY),
            ),
            (with(CA_KEY, Some(vec![0xff, 0xfe])), Defect::NotPem(CA_KEY)),
            (
                with(CA_KEY, Some(other[CA_KEY].clone())),
                Defect::KeyMismatch {
                    key: CA_KEY,
                    certificate: CA_CERTIFICATE,
                },
            ),
            (
                with(ROOT_CERTIFICATE, Some(other[ROOT_CERTIFICATE].clone())),
                Defect::NotChained(CA_CERTIFICATE),
            ),
            (
                with(CHAIN, Some(other[CHAIN].clone())),
                Defect::NotChained(CHAIN),
            ),
        ] {
            assert_eq!(Intermediate::read(&data, now()).unwrap_err(), defect);
        }
    }

    #[test]
    fn an_authority_outside_its_time_is_a_defect() {
        let data = intermediate().secret_data();
        assert!(matches!(
            Intermediate::read(&data, later(11)),
            Err(Defect::OutOfTime { .. })
        ));
        assert!(matches!(
            Intermediate::read(&data, later(-1)),
            Err(Defect::OutOfTime { .. })
        ));
        assert!(Intermediate::read(&data, later(9)).is_ok());
    }

    #[test]
    fn no_private_key_is_printed() {
        let root = Authority::mint("campus", now()).unwrap();
        let member = Intermediate::mint("edge", &root, now()).unwrap();
        assert!(!format!("{root:?}{member:?}").contains("PRIVATE KEY"));
    }
}
