//! No answer of a signer makes reading its chain panic; what is read is for the identity that was asked for.
#![no_main]

use std::time::SystemTime;

use applink_ztunnel::identity::Identity;
use applink_ztunnel::tls::{PrivateKey, WorkloadCertificate, client_config, server_config};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|texts: &str| {
    // The texts of the answer, parted by the record separator.
    let answer: Vec<String> = texts.split('\u{1e}').map(str::to_owned).collect();
    let identity: Identity = "spiffe://cluster.local/ns/shop/sa/web"
        .parse()
        .expect("an identity");
    let key = PrivateKey::from_pkcs8(Vec::new());
    match WorkloadCertificate::from_pem(&identity, &answer, key) {
        Ok(certificate) => {
            assert_eq!(certificate.identity(), &identity);
            assert!(!certificate.chain().is_empty());
            let _ = certificate.is_valid(SystemTime::now());
            // The key does not fit.
            assert!(server_config(&certificate).is_err());
            assert!(client_config(&certificate, &[]).is_err());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
