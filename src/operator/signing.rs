//! Has istiod sign a certificate, and looks whose authority it is under. Certificate and key are thrown away.

use std::sync::Arc;
use std::time::Duration;

use applink_ztunnel::ca::{Caller, Settings, issue_once};
use applink_ztunnel::error::chain;
use applink_ztunnel::identity::Identity;
use applink_ztunnel::tls::{WorkloadCertificate, server_config};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Client;
use kube::api::{Api, PostParams};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::names;

/// For whom istiod takes tokens. Source: its `TOKEN_AUDIENCES`.
const AUDIENCE: &str = "istio-ca";
/// The shortest life the API server gives a token.
const TOKEN_LIFE: i64 = 600;
/// Life of the certificate that is asked for.
const LIFE: Duration = Duration::from_hours(1);
/// The longest wait for the signature.
const LIMIT: Duration = Duration::from_secs(5);

/// What an istiod of this member must be.
#[derive(Clone, Debug, Default)]
pub struct Mesh {
    /// Roots its certificate and those it signs must be under.
    pub roots: Vec<CertificateDer<'static>>,
    /// The name in its certificate.
    pub host: String,
    /// Its cluster id.
    pub cluster: String,
    /// Its trust domain.
    pub trust_domain: String,
}

impl Mesh {
    fn store(&self) -> Arc<RootCertStore> {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(self.roots.iter().cloned());
        Arc::new(store)
    }

    /// A TLS handshake that ends well only with a certificate under these roots.
    pub async fn connect<S>(&self, stream: S) -> Result<TlsStream<S>, String>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let mut config = rustls::ClientConfig::builder()
            .with_root_certificates(self.store())
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = ServerName::try_from(self.host.clone()).map_err(|error| error.to_string())?;
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .map_err(|error| format!("xDS over TLS: {error}"))
    }

    /// Has istiod at the other end sign, as the node proxy does. Returns for whom it signed.
    pub async fn sign<S>(&self, client: &Client, stream: S) -> Result<Identity, String>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let identity = Identity::new(&self.trust_domain, names::SYSTEM_NAMESPACE, names::ZTUNNEL)
            .map_err(|error| error.to_string())?;
        let caller = Caller {
            token: token(client).await?,
            cluster_id: self.cluster.clone(),
        };
        let settings = Settings {
            life: LIFE,
            impersonate: false,
        };
        let signed = issue_once(stream, &caller, &identity, settings, LIMIT)
            .await
            .map_err(|error| chain(&error))?;
        self.verify(&signed)?;
        Ok(identity)
    }

    /// The key fits, and the chain ends in one of the roots.
    fn verify(&self, signed: &WorkloadCertificate) -> Result<(), String> {
        server_config(signed)
            .map_err(|error| format!("not one of the mesh: {}", chain(&error)))
            .and_then(|_| self.holds(signed.chain()))
            .map_err(|error| format!("the certificate it signed is {error}"))
    }

    /// A chain, the workload's own certificate first, is valid now and ends in one of the roots.
    pub fn holds(&self, chain: &[CertificateDer<'_>]) -> Result<(), String> {
        let failed = |error: &dyn std::fmt::Display| format!("not one of the mesh: {error}");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(self.store(), provider)
            .build()
            .map_err(|error| failed(&error))?;
        let (leaf, rest) = chain
            .split_first()
            .ok_or_else(|| failed(&"the chain is empty"))?;
        verifier
            .verify_client_cert(leaf, rest, UnixTime::now())
            .map(|_| ())
            .map_err(|error| failed(&error))
    }
}

/// A token of the node proxy's account.
async fn token(client: &Client) -> Result<String, String> {
    let api: Api<ServiceAccount> = Api::namespaced(client.clone(), names::SYSTEM_NAMESPACE);
    let request = TokenRequest {
        spec: TokenRequestSpec {
            audiences: vec![AUDIENCE.to_owned()],
            expiration_seconds: Some(TOKEN_LIFE),
            ..TokenRequestSpec::default()
        },
        ..TokenRequest::default()
    };
    let answer = api
        .create_token_request(names::ZTUNNEL, &PostParams::default(), &request)
        .await
        .map_err(|error| {
            format!(
                "no token of ServiceAccount {}: {}",
                names::ZTUNNEL,
                super::chain(&error)
            )
        })?;
    answer
        .status
        .map(|status| status.token)
        .ok_or_else(|| "the answer holds no token".to_owned())
}

#[cfg(test)]
pub(super) mod tests {
    use jiff::Timestamp;
    use rcgen::{CertificateSigningRequestParams, Issuer, KeyPair};
    use rustls::pki_types::pem::PemObject;

    use super::*;
    use crate::trust::{Authority, Intermediate};

    /// A certificate as istiod signs it with this `cacerts`.
    pub fn signed(cacerts: &Intermediate, identity: &Identity) -> WorkloadCertificate {
        let data = cacerts.secret_data();
        let text = |key: &str| String::from_utf8(data[key].clone()).unwrap();
        let key = KeyPair::from_pem(&text("ca-key.pem")).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&text("ca-cert.pem"), key).unwrap();
        let request = applink_ztunnel::ca::request(identity).unwrap();
        let leaf = CertificateSigningRequestParams::from_pem(&request.pem)
            .unwrap()
            .signed_by(&issuer)
            .unwrap();
        let texts = [leaf.pem(), text("ca-cert.pem"), text("root-cert.pem")];
        WorkloadCertificate::from_pem(identity, &texts, request.key).unwrap()
    }

    /// The intermediate of a mesh of its own.
    pub fn mint() -> Intermediate {
        let now = Timestamp::now();
        Intermediate::mint("edge-1", &Authority::mint("campus", now).unwrap(), now).unwrap()
    }

    pub fn identity() -> Identity {
        Identity::new("cluster.local", "applink-system", "ztunnel").unwrap()
    }

    pub fn mesh_of(cacerts: &Intermediate) -> Mesh {
        let roots = CertificateDer::pem_slice_iter(&cacerts.secret_data()["root-cert.pem"])
            .collect::<Result<Vec<_>, _>>()
            .unwrap();
        Mesh {
            roots,
            ..Mesh::default()
        }
    }

    #[test]
    fn only_what_is_under_the_root_is_a_certificate_of_the_mesh() {
        // The other one is of an authority of the same name and another key.
        let (own, other) = (mint(), mint());
        let mesh = mesh_of(&own);
        mesh.verify(&signed(&own, &identity())).unwrap();
        let error = mesh.verify(&signed(&other, &identity())).unwrap_err();
        assert!(error.contains("not one of the mesh"), "{error}");
    }
}
