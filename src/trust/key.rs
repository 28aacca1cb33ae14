//! A private key that never shows itself.

use std::fmt;

use zeroize::Zeroizing;

/// A private key as PEM (PKCS #8). Never printed; wiped from memory when dropped.
///
/// What the key generator and the Kubernetes client copy on the way is out of reach.
#[derive(Clone)]
pub struct PrivateKey(Zeroizing<String>);

impl PrivateKey {
    /// Takes over a PEM text.
    #[must_use]
    pub fn from_pem(pem: String) -> Self {
        Self(Zeroizing::new(pem))
    }

    /// The PEM text, for the Secret and for nothing else.
    #[must_use]
    pub fn expose_pem(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(not shown)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_does_not_show_itself() {
        assert_eq!(
            format!("{:?}", PrivateKey::from_pem("secret".into())),
            "PrivateKey(not shown)"
        );
    }
}
