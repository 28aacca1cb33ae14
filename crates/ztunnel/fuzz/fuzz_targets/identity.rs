//! Whatever parses as an identity prints itself and can be put together again from its parts.
#![no_main]

use applink_ztunnel::identity::Identity;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(identity) = text.parse::<Identity>() {
        assert_eq!(identity.as_str(), text);
        let (domain, namespace, account) = (
            identity.trust_domain(),
            identity.namespace(),
            identity.service_account(),
        );
        assert_eq!(
            Identity::new(domain, namespace, account).as_ref(),
            Ok(&identity)
        );
    }
});
