//! Handshakes between certificates of a test authority.

use super::*;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SanType,
};
use rustls::client::danger::ServerCertVerifier as _;
use rustls::{ClientConnection, ServerConnection};
use rustls_pki_types::ServerName;
use std::time::{Duration, SystemTime};

/// A signer as istiod is one: a root, and an intermediate that signs.
pub(crate) struct Authority {
    root: CertifiedIssuer<'static, KeyPair>,
    intermediate: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let root =
            CertifiedIssuer::self_signed(issuing("root"), KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let intermediate = CertifiedIssuer::signed_by(issuing("intermediate"), key, &root).unwrap();
        Self { root, intermediate }
    }

    /// A certificate with these URI names, from an hour ago until `life` from now.
    fn chain(&self, names: &[&str], life: Duration) -> (Vec<String>, PrivateKey) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.subject_alt_names = names
            .iter()
            .map(|name| SanType::URI(Ia5String::try_from(*name).unwrap()))
            .collect();
        let now = SystemTime::now();
        params.not_before = (now - Duration::from_hours(1)).into();
        params.not_after = (now + life).into();
        let leaf = params.signed_by(&key, &*self.intermediate).unwrap();
        let texts = vec![leaf.pem(), self.intermediate.pem(), self.root.pem()];
        (texts, PrivateKey::from_pkcs8(key.serialize_der()))
    }

    /// A workload's certificate.
    pub(crate) fn certificate(&self, identity: &Identity, life: Duration) -> WorkloadCertificate {
        let (texts, key) = self.chain(&[identity.as_str()], life);
        WorkloadCertificate::from_pem(identity, &texts, key).unwrap()
    }

    /// A certificate of this authority whose holder trusts `other` too: what two meshes with one root look like.
    fn with_names(&self, own: &Identity, names: &[&str]) -> WorkloadCertificate {
        let (texts, key) = self.chain(names, Duration::from_hours(1));
        WorkloadCertificate::from_pem(own, &texts, key).unwrap()
    }
}

fn issuing(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn identity(text: &str) -> Identity {
    text.parse().unwrap()
}

fn cart() -> Identity {
    identity("spiffe://cluster.local/ns/shop/sa/cart")
}

fn pay() -> Identity {
    identity("spiffe://cluster.local/ns/shop/sa/pay")
}

const HOUR: Duration = Duration::from_hours(1);

/// Shakes hands in memory; the first error of either side, client's first.
fn handshake(
    client: &WorkloadCertificate,
    server: &WorkloadCertificate,
    expected: &[Identity],
) -> Result<(ClientConnection, ServerConnection), rustls::Error> {
    let name = ServerName::try_from("10.0.0.9").unwrap();
    let mut client =
        ClientConnection::new(client_config(client, expected).unwrap().rustls(), name).unwrap();
    let mut server = ServerConnection::new(server_config(server).unwrap().rustls()).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        server.read_tls(&mut bytes.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut bytes = Vec::new();
        server.write_tls(&mut bytes).unwrap();
        client.read_tls(&mut bytes.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    Ok((client, server))
}

fn refusal(result: Result<(ClientConnection, ServerConnection), rustls::Error>) -> String {
    match result.err().unwrap() {
        rustls::Error::InvalidCertificate(rustls::CertificateError::Other(reason)) => {
            reason.0.to_string()
        }
        other => other.to_string(),
    }
}

#[test]
fn a_certificate_tells_the_root_it_is_under_while_it_is_valid() {
    let (authority, other) = (Authority::new(), Authority::new());
    let held = authority.certificate(&cart(), HOUR);
    let now = SystemTime::now();
    assert_eq!(held.root(now), Some(&held.roots()[0]));
    assert_eq!(held.root(now + HOUR * 2), None);
    // Roots that came with a chain of somebody else.
    let (mut texts, key) = authority.chain(&[cart().as_str()], HOUR);
    texts.pop();
    texts.push(other.root.pem());
    let stray = WorkloadCertificate::from_pem(&cart(), &texts, key.clone()).unwrap();
    assert_eq!(stray.root(now), None);
    // Two roots: the one it is under is told.
    texts.pop();
    texts.push(other.root.pem() + &authority.root.pem());
    let both = WorkloadCertificate::from_pem(&cart(), &texts, key).unwrap();
    assert_eq!(both.root(now), Some(&held.roots()[0]));
}

#[test]
fn two_workloads_prove_their_identities_to_each_other() {
    let authority = Authority::new();
    let (client, server) = (
        authority.certificate(&cart(), HOUR),
        authority.certificate(&pay(), HOUR),
    );
    let (client, server) = handshake(&client, &server, &[cart(), pay()]).unwrap();
    let peer = |certificates: Option<&[rustls_pki_types::CertificateDer<'static>]>| {
        assert_eq!(
            certificates.unwrap().len(),
            2,
            "leaf and intermediate are presented"
        );
        peer_identity(&certificates.unwrap()[0]).unwrap()
    };
    assert_eq!(peer(server.peer_certificates()), cart());
    assert_eq!(peer(client.peer_certificates()), pay());
    assert_eq!(client.alpn_protocol(), Some(ALPN_H2));
    assert_eq!(
        client.protocol_version(),
        Some(rustls::ProtocolVersion::TLSv1_3)
    );
    assert_eq!(server.server_name(), None, "no server name is sent");
    assert_eq!(client.tls13_tickets_received(), 0);
    assert_eq!(client.handshake_kind(), Some(rustls::HandshakeKind::Full));
}

#[test]
fn a_server_must_be_one_of_the_expected() {
    let authority = Authority::new();
    let (client, server) = (
        authority.certificate(&cart(), HOUR),
        authority.certificate(&pay(), HOUR),
    );
    let refused = refusal(handshake(&client, &server, &[cart()]));
    assert!(
        refused.contains("ns/shop/sa/pay") && refused.contains("expected one of"),
        "{refused}"
    );
    assert!(
        handshake(&client, &server, &[]).is_err(),
        "nobody is expected"
    );
    // Any of the server's names may be the expected one.
    let several = authority.with_names(&pay(), &["spiffe://other/ns/a/sa/b", pay().as_str()]);
    handshake(&client, &several, &[pay()]).unwrap();
}

#[test]
fn a_client_must_be_of_the_servers_trust_domain_and_have_one_identity() {
    let authority = Authority::new();
    let server = authority.certificate(&pay(), HOUR);
    let foreign = identity("spiffe://elsewhere/ns/shop/sa/cart");
    let refused = refusal(handshake(
        &authority.certificate(&foreign, HOUR),
        &server,
        &[pay()],
    ));
    assert_eq!(
        refused,
        "the peer spiffe://elsewhere/ns/shop/sa/cart is not of the trust domain \"cluster.local\""
    );
    let two = authority.with_names(&cart(), &[cart().as_str(), pay().as_str()]);
    let refused = refusal(handshake(&two, &server, &[pay()]));
    assert!(refused.contains("exactly one SPIFFE identity"), "{refused}");
}

#[test]
fn another_authority_is_trusted_by_neither_side() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (own, foreign) = (
        ours.certificate(&cart(), HOUR),
        theirs.certificate(&pay(), HOUR),
    );
    assert!(handshake(&own, &foreign, &[pay()]).is_err());
    // The client trusts the server, the server does not trust the client.
    let (texts, key) = theirs.chain(&[cart().as_str()], HOUR);
    let mixed = [&texts[..2], &[ours.root.pem()]].concat();
    let trusting = WorkloadCertificate::from_pem(&cart(), &mixed, key).unwrap();
    let server = ours.certificate(&pay(), HOUR);
    assert!(handshake(&trusting, &server, &[pay()]).is_err());
}

#[test]
fn an_expired_certificate_is_refused_by_the_peer() {
    let authority = Authority::new();
    let (texts, key) = authority.chain(&[pay().as_str()], Duration::ZERO);
    let expired = WorkloadCertificate::from_pem(&pay(), &texts, key).unwrap();
    let later = SystemTime::now() + Duration::from_secs(1);
    assert!(!expired.is_valid(later));
    let client = authority.certificate(&cart(), HOUR);
    let name = rustls_pki_types::UnixTime::since_unix_epoch(
        later.duration_since(SystemTime::UNIX_EPOCH).unwrap(),
    );
    let verifier = verify::Servers::new(&client, &[pay()]);
    let server_name = ServerName::try_from("10.0.0.9").unwrap();
    let chain = expired.chain();
    assert!(
        verifier
            .verify_server_cert(&chain[0], &chain[1..], &server_name, &[], name)
            .is_err()
    );
}

#[test]
fn a_plain_tls_client_without_certificate_is_refused() {
    let authority = Authority::new();
    let server = server_config(&authority.certificate(&pay(), HOUR)).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.root.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("x.example").unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(server.rustls()).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    server.read_tls(&mut bytes.as_slice()).unwrap();
    // It has no ALPN in common either way; without a certificate nothing gets through.
    let _ = server.process_new_packets();
    let mut bytes = Vec::new();
    server.write_tls(&mut bytes).unwrap();
    client.read_tls(&mut bytes.as_slice()).unwrap();
    let _ = client.process_new_packets();
    assert!(server.is_handshaking());
}

#[test]
fn a_signers_answer_is_read_leaf_first_and_roots_last() {
    let authority = Authority::new();
    let (texts, key) = authority.chain(&[cart().as_str()], HOUR);
    let read = |texts: &[String]| WorkloadCertificate::from_pem(&cart(), texts, key.clone());
    let certificate = read(&texts).unwrap();
    assert_eq!(
        (certificate.chain().len(), certificate.roots().len()),
        (2, 1)
    );
    assert!(certificate.is_valid(SystemTime::now()));
    // istiod may put leaf and intermediates, or several roots, into one element.
    let joined = vec![
        format!("{}{}", texts[0], texts[1]),
        format!("{}{}", texts[2], Authority::new().root.pem()),
    ];
    let certificate = read(&joined).unwrap();
    assert_eq!(
        (certificate.chain().len(), certificate.roots().len()),
        (2, 2)
    );
    // A self-signed authority without intermediates.
    assert_eq!(
        read(&[texts[0].clone(), texts[2].clone()])
            .unwrap()
            .chain()
            .len(),
        1
    );
}

#[test]
fn an_unusable_answer_is_refused_with_its_reason() {
    let authority = Authority::new();
    let (texts, key) = authority.chain(&[cart().as_str()], HOUR);
    let read = |identity: &Identity, texts: &[String]| {
        WorkloadCertificate::from_pem(identity, texts, key.clone())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(read(&cart(), &[]), "the certificate chain is empty");
    assert_eq!(
        read(&cart(), &texts[..1]),
        "the certificate chain has no leaf beside the roots"
    );
    assert_eq!(
        read(&cart(), &[texts[0].clone(), String::new()]),
        "the certificate chain has no roots"
    );
    assert_eq!(
        read(&cart(), &["rubbish".to_owned(), texts[2].clone()]),
        "the certificate chain has no leaf beside the roots"
    );
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned();
    assert_eq!(
        read(&cart(), &[broken.clone(), texts[2].clone()]),
        "the leaf certificate cannot be read"
    );
    assert_eq!(
        read(&cart(), &[texts[0].clone(), broken]),
        "the root certificate cannot be read"
    );
    assert!(
        read(&pay(), &texts)
            .starts_with("asked for a certificate of spiffe://cluster.local/ns/shop/sa/pay")
    );
    let endless = texts[0].repeat(65);
    assert_eq!(
        read(&cart(), &[endless, texts[2].clone()]),
        "the certificate chain has more than 64 certificates"
    );
}

#[test]
fn only_the_algorithms_of_the_contract_are_offered() {
    let provider = provider();
    let suites: Vec<u16> = provider
        .cipher_suites
        .iter()
        .map(|suite| suite.suite().into())
        .collect();
    assert_eq!(suites, [0x1302, 0x1301]);
    let groups: Vec<u16> = provider
        .kx_groups
        .iter()
        .map(|group| group.name().into())
        .collect();
    assert_eq!(groups, [0x001d, 0x0017, 0x0018, 0x11ec]);
}
