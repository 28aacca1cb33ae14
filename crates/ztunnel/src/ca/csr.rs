//! The signing request: an EC P-256 key, an empty subject and one critical URI name.

use std::sync::Arc;

use rcgen::string::Ia5String;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};

use super::Error;
use crate::identity::Identity;
use crate::tls::PrivateKey;

/// A request and the key it is for.
#[derive(Debug)]
pub struct Request {
    /// PKCS #10 as PEM.
    pub pem: String,
    /// The fresh key.
    pub key: PrivateKey,
}

/// Makes a key and a request for an identity.
///
/// # Errors
/// [`Error::Request`] when the key cannot be made.
pub fn request(identity: &Identity) -> Result<Request, Error> {
    let failed = |source| Error::Request {
        identity: identity.clone(),
        source: Arc::new(source),
    };
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let mut params = CertificateParams::default();
    // With an empty subject the name extension is critical, RFC 5280 section 4.2.1.6.
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(
        Ia5String::try_from(identity.as_str()).map_err(failed)?,
    )];
    let pem = params
        .serialize_request(&key)
        .and_then(|request| request.pem())
        .map_err(failed)?;
    Ok(Request {
        pem,
        key: PrivateKey::from_pkcs8(key.serialize_der()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::prelude::*;

    #[test]
    fn a_request_has_an_empty_subject_and_one_critical_uri_name() {
        let identity = Identity::new("cluster.local", "shop", "cart").unwrap();
        let request = request(&identity).unwrap();
        let (_, pem) = parse_x509_pem(request.pem.as_bytes()).unwrap();
        assert_eq!(pem.label, "CERTIFICATE REQUEST");
        let (rest, csr) = X509CertificationRequest::from_der(&pem.contents).unwrap();
        assert!(rest.is_empty());
        csr.verify_signature().unwrap();
        let info = &csr.certification_request_info;
        assert_eq!(info.subject.as_raw(), [0x30, 0x00]);
        let extensions: Vec<_> = csr.requested_extensions().unwrap().collect();
        let [ParsedExtension::SubjectAlternativeName(names)] = extensions.as_slice() else {
            panic!("one extension expected, got {extensions:?}");
        };
        assert_eq!(names.general_names, [GeneralName::URI(identity.as_str())]);
        // OID 2.5.29.17, then BOOLEAN TRUE: critical.
        let critical_san = [0x06, 0x03, 0x55, 0x1d, 0x11, 0x01, 0x01, 0xff];
        assert!(
            pem.contents
                .windows(critical_san.len())
                .any(|bytes| bytes == critical_san)
        );
        // id-ecPublicKey on prime256v1.
        let curve = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
        assert!(
            info.subject_pki
                .raw
                .windows(curve.len())
                .any(|bytes| bytes == curve)
        );
    }

    #[test]
    fn every_request_has_its_own_key_and_never_prints_it() {
        let identity = Identity::new("cluster.local", "shop", "cart").unwrap();
        let (one, two) = (request(&identity).unwrap(), request(&identity).unwrap());
        assert_ne!(one.pem, two.pem);
        assert_eq!(format!("{:?}", one.key), "PrivateKey");
    }
}
