//! The certificates of a cluster: one authority, a certificate per server and per client.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};

use crate::files;

/// A certificate could not be made or kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Key or certificate generation failed.
    #[error("cannot make certificate {name}")]
    Make {
        /// File name without extension.
        name: String,
        /// The reason.
        source: rcgen::Error,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    Files(#[from] files::Error),
}

/// The authority of one cluster, kept in a folder as `ca.crt` and `ca.key`.
#[derive(Debug)]
pub struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key as files.
#[derive(Clone, Debug)]
pub struct Pair {
    /// PEM certificate.
    pub certificate: PathBuf,
    /// PEM key, PKCS#8, ECDSA P-256.
    pub key: PathBuf,
}

impl Authority {
    /// Makes an authority and keeps it in `folder`.
    pub fn create(folder: &Path) -> Result<Self, Error> {
        let make = |source| Error::Make {
            name: "ca".to_owned(),
            source,
        };
        let key = KeyPair::generate().map_err(make)?;
        let mut params = parameters("applink-e2e", None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let certificate = params.self_signed(&key).map_err(make)?;
        files::write(&folder.join("ca.crt"), certificate.pem())?;
        files::write_secret(&folder.join("ca.key"), key.serialize_pem())?;
        Self::open(folder)
    }

    /// The authority kept in `folder`.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let make = |source| Error::Make {
            name: "ca".to_owned(),
            source,
        };
        let key = KeyPair::from_pem(&files::read(&folder.join("ca.key"))?).map_err(make)?;
        let certificate = files::read(&folder.join("ca.crt"))?;
        Ok(Self {
            folder: folder.to_owned(),
            issuer: Issuer::from_ca_cert_pem(&certificate, key).map_err(make)?,
        })
    }

    /// The authority's own certificate.
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// A certificate of a server for DNS names and IP addresses, kept under `name`.
    pub fn server(&self, name: &str, names: &[String]) -> Result<Pair, Error> {
        let mut params = parameters(name, None);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for text in names {
            let alternative = match text.parse() {
                Ok(ip) => rcgen::SanType::IpAddress(ip),
                Err(_) => rcgen::SanType::DnsName(text.as_str().try_into().map_err(|source| {
                    Error::Make {
                        name: name.to_owned(),
                        source,
                    }
                })?),
            };
            params.subject_alt_names.push(alternative);
        }
        self.sign(name, params)
    }

    /// A certificate of a client, kept under `name`: Kubernetes reads `user` as the user and
    /// `group` as its group.
    pub fn client(&self, name: &str, user: &str, group: Option<&str>) -> Result<Pair, Error> {
        let mut params = parameters(user, group);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(name, params)
    }

    fn sign(&self, name: &str, mut params: CertificateParams) -> Result<Pair, Error> {
        let make = |source| Error::Make {
            name: name.to_owned(),
            source,
        };
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().map_err(make)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(make)?;
        let pair = self.pair(name);
        files::write(&pair.certificate, certificate.pem())?;
        files::write_secret(&pair.key, key.serialize_pem())?;
        Ok(pair)
    }

    fn pair(&self, name: &str) -> Pair {
        Pair {
            certificate: self.folder.join(format!("{name}.crt")),
            key: self.folder.join(format!("{name}.key")),
        }
    }

    /// A kubeconfig for a client's certificate, with everything inline.
    pub fn kubeconfig(&self, server: &str, client: &Pair) -> Result<String, Error> {
        use base64::Engine;
        let inline = |path: &Path| -> Result<String, Error> {
            Ok(base64::engine::general_purpose::STANDARD.encode(files::read(path)?))
        };
        // JSON is YAML; kubectl and every client library read it.
        let config = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "applink-e2e",
            "clusters": [{"name": "applink-e2e", "cluster": {
                "server": server,
                "certificate-authority-data": inline(&self.certificate())?,
            }}],
            "users": [{"name": "applink-e2e", "user": {
                "client-certificate-data": inline(&client.certificate)?,
                "client-key-data": inline(&client.key)?,
            }}],
            "contexts": [{"name": "applink-e2e", "context": {
                "cluster": "applink-e2e", "user": "applink-e2e",
            }}],
        });
        Ok(format!("{config:#}\n"))
    }
}

/// The key that signs service account tokens: the private key, and the public one as the API
/// server wants it (it does not read an elliptic-curve PKCS#8 key as a public key).
pub fn service_account_key(folder: &Path) -> Result<(PathBuf, PathBuf), Error> {
    let key = KeyPair::generate().map_err(|source| Error::Make {
        name: "service-account".to_owned(),
        source,
    })?;
    let (private, public) = (
        folder.join("service-account.key"),
        folder.join("service-account.pub"),
    );
    files::write_secret(&private, key.serialize_pem())?;
    files::write(&public, key.public_key_pem())?;
    Ok((private, public))
}

fn parameters(common_name: &str, organization: Option<&str>) -> CertificateParams {
    let mut name = DistinguishedName::new();
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name.push(DnType::CommonName, common_name);
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    // Clusters are thrown away within days; fixed dates keep the clock out of this.
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2049, 12, 31);
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_certificate_names_user_and_group() {
        let folder = crate::process::temporary_folder("certificates").unwrap();
        Authority::create(&folder).unwrap();
        let authority = Authority::open(&folder).unwrap();
        let pair = authority
            .client("who", "alice", Some("system:masters"))
            .unwrap();
        let pem = std::fs::read(&pair.certificate).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).unwrap();
        let certificate = pem.parse_x509().unwrap();
        assert_eq!(
            certificate.subject().to_string(),
            "O=system:masters, CN=alice"
        );
        assert_eq!(certificate.issuer().to_string(), "CN=applink-e2e");
        let config = authority.kubeconfig("https://a:1", &pair).unwrap();
        assert!(config.contains("\"server\": \"https://a:1\""));
        files::remove_dir(&folder).unwrap();
    }
}
