//! SPIFFE identities.
//!
//! Layer 1. Parses, prints and compares `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`; never
//! fetches or verifies anything.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use crate::addr::shortened;

const SCHEME: &str = "spiffe://";
/// Longest SPIFFE id, SPIFFE-ID standard section 2.3.
const MAX_URI: usize = 2048;
/// Longest trust domain, SPIFFE-ID standard section 2.1.
const MAX_TRUST_DOMAIN: usize = 255;
/// Longest namespace or service account, the DNS subdomain limit of Kubernetes.
const MAX_SEGMENT: usize = 253;

/// Why a text is not an identity.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// Not of the form `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.
    #[error("{0:?} is not of the form spiffe://<trust domain>/ns/<namespace>/sa/<service account>")]
    Form(String),
    /// A part is empty, too long or holds a character that SPIFFE does not allow.
    #[error(
        "{part} {value:?} of an identity is empty, too long or has characters outside a-z A-Z 0-9 . - _"
    )]
    Part {
        /// Which part: trust domain, namespace or service account.
        part: &'static str,
        /// The refused text, cut.
        value: String,
    },
}

/// The identity of a workload. Cloning costs one reference count.
#[derive(Clone)]
pub struct Identity {
    uri: Arc<str>,
    /// End of the trust domain, and of the namespace, as offsets into `uri`.
    trust_domain_end: u16,
    namespace_end: u16,
}

impl Identity {
    /// An identity from its parts.
    ///
    /// # Errors
    /// [`Error::Part`] names the first part that is not acceptable.
    pub fn new(trust_domain: &str, namespace: &str, service_account: &str) -> Result<Self, Error> {
        check("trust domain", trust_domain, MAX_TRUST_DOMAIN)?;
        check("namespace", namespace, MAX_SEGMENT)?;
        check("service account", service_account, MAX_SEGMENT)?;
        let trust_domain_end = SCHEME.len() + trust_domain.len();
        let namespace_end = trust_domain_end + "/ns/".len() + namespace.len();
        let offset =
            |end: usize| u16::try_from(end).map_err(|_| Error::Form(shortened(trust_domain)));
        Ok(Self {
            uri: format!("{SCHEME}{trust_domain}/ns/{namespace}/sa/{service_account}").into(),
            trust_domain_end: offset(trust_domain_end)?,
            namespace_end: offset(namespace_end)?,
        })
    }

    /// The whole URI.
    pub fn as_str(&self) -> &str {
        &self.uri
    }

    /// The URI without `spiffe://`, the form in which policies name principals.
    pub fn principal(&self) -> &str {
        &self.uri[SCHEME.len()..]
    }

    /// Whether another clone exists.
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.uri) > 1
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> &str {
        &self.uri[SCHEME.len()..usize::from(self.trust_domain_end)]
    }

    /// The Kubernetes namespace.
    pub fn namespace(&self) -> &str {
        &self.uri
            [usize::from(self.trust_domain_end) + "/ns/".len()..usize::from(self.namespace_end)]
    }

    /// The Kubernetes service account.
    pub fn service_account(&self) -> &str {
        &self.uri[usize::from(self.namespace_end) + "/sa/".len()..]
    }
}

fn check(part: &'static str, value: &str, longest: usize) -> Result<(), Error> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if value.is_empty() || value.len() > longest || !value.bytes().all(allowed) {
        return Err(Error::Part {
            part,
            value: shortened(value),
        });
    }
    Ok(())
}

impl FromStr for Identity {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refused = || Error::Form(shortened(text));
        if text.len() > MAX_URI {
            return Err(refused());
        }
        let mut parts = text.strip_prefix(SCHEME).ok_or_else(refused)?.split('/');
        let mut part = || parts.next().ok_or_else(refused);
        let (trust_domain, ns, namespace, sa, service_account) =
            (part()?, part()?, part()?, part()?, part()?);
        if ns != "ns" || sa != "sa" || parts.next().is_some() {
            return Err(refused());
        }
        Self::new(trust_domain, namespace, service_account)
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.uri == other.uri
    }
}

impl Eq for Identity {}

impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.uri.hash(state);
    }
}

impl PartialOrd for Identity {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Identity {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.uri.cmp(&other.uri)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_identity_is_read_back_as_printed() {
        let text = "spiffe://cluster.local/ns/shop/sa/cart";
        let identity: Identity = text.parse().unwrap();
        assert_eq!(identity.to_string(), text);
        assert_eq!(identity.principal(), "cluster.local/ns/shop/sa/cart");
        assert_eq!(
            (
                identity.trust_domain(),
                identity.namespace(),
                identity.service_account()
            ),
            ("cluster.local", "shop", "cart")
        );
        assert_eq!(
            identity,
            Identity::new("cluster.local", "shop", "cart").unwrap()
        );
    }

    #[test]
    fn anything_but_the_exact_form_is_refused() {
        for bad in [
            "",
            "spiffe://",
            "cluster.local/ns/shop/sa/cart",
            "https://cluster.local/ns/shop/sa/cart",
            "SPIFFE://cluster.local/ns/shop/sa/cart",
            "spiffe://cluster.local/ns/shop/sa",
            "spiffe://cluster.local/ns/shop/sa/",
            "spiffe://cluster.local/ns//sa/cart",
            "spiffe:///ns/shop/sa/cart",
            "spiffe://cluster.local/ns/shop/sa/cart/",
            "spiffe://cluster.local/ns/shop/sa/cart/extra",
            "spiffe://cluster.local/sa/cart/ns/shop",
            "spiffe://cluster.local/ns/shop/sa/ca rt",
            "spiffe://cluster.local/ns/shop/sa/cart\0",
            "spiffe://cluster.local:1/ns/shop/sa/cart",
            "spiffe://user@cluster.local/ns/shop/sa/cart",
            "spiffe://cluster.local/ns/shop/sa/cart?x=1",
            "spiffe://cluster.local/ns/shop/sa/cart#x",
            "spiffe://cluster.local/ns/shop/sa/%63art",
        ] {
            assert!(bad.parse::<Identity>().is_err(), "{bad}");
        }
    }

    #[test]
    fn lengths_are_bounded() {
        let long = "a".repeat(254);
        assert!(Identity::new("td", &long, "sa").is_err());
        assert!(Identity::new("td", &long[1..], "sa").is_ok());
        assert!(Identity::new(&"a".repeat(256), "ns", "sa").is_err());
        let endless = format!("spiffe://td/ns/{}/sa/x", "a".repeat(1 << 20));
        assert!(endless.parse::<Identity>().unwrap_err().to_string().len() < 300);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,300}") {
            let _ = text.parse::<Identity>();
        }

        #[test]
        fn whatever_parses_prints_itself(
            text in "spiffe://[a-z.]{0,9}/(ns|sa)/[a-z-]{0,9}/(ns|sa)/[a-z.-]{0,9}",
        ) {
            if let Ok(identity) = text.parse::<Identity>() {
                prop_assert_eq!(identity.as_str(), text);
            }
        }
    }
}
