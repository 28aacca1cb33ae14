//! Names of revisions: a release, and a release with the hash of its per-node template.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use serde::Serialize;
use serde_json::Value;

use crate::catalogue::Version;

/// Hexadecimal digits of the hash in a revision's name.
const SHORT: usize = 6;
/// Hexadecimal digits of a template hash in a label or annotation.
const LONG: usize = 16;

/// Hash of a template, stable over the order of object keys: 16 hexadecimal digits of SHA-256.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TemplateHash(String);

impl TemplateHash {
    /// The hash of any values that serialise to JSON; keys that are null count as absent.
    ///
    /// # Errors
    /// When a value does not serialise, which typed Kubernetes objects always do.
    pub fn of(parts: &[&dyn Canonical]) -> Result<Self, serde_json::Error> {
        let mut text = String::new();
        for part in parts {
            write_canonical(&part.value()?, &mut text);
            text.push('\n');
        }
        let digest = digest::digest(&digest::SHA256, text.as_bytes());
        let mut hex = String::with_capacity(LONG);
        for byte in &digest.as_ref()[..LONG / 2] {
            use fmt::Write;
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
        }
        Ok(Self(hex))
    }

    /// The 16 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TemplateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Anything that can be hashed by its JSON form.
pub trait Canonical {
    /// The JSON form.
    ///
    /// # Errors
    /// When serialising fails.
    fn value(&self) -> Result<Value, serde_json::Error>;
}

impl<T: Serialize> Canonical for T {
    fn value(&self) -> Result<Value, serde_json::Error> {
        serde_json::to_value(self)
    }
}

/// JSON with sorted keys and without nulls: the order in which fields were filled in does not count, whatever map type
/// the JSON library was built with.
fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<_> = map.iter().filter(|(_, v)| !v.is_null()).collect();
            keys.sort_by(|a, b| a.0.cmp(b.0));
            out.push('{');
            for (key, value) in keys {
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write_canonical(value, out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for item in items {
                write_canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

/// A release plus a short hash of its per-node template, e.g. `1-6-0-3fa9c1`.
///
/// Fits a DNS label behind `ztunnel-` and a label value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(String);

impl Revision {
    /// The revision of this version with this per-node template.
    #[must_use]
    pub fn new(version: Version, template: &TemplateHash) -> Self {
        Self(format!("{}-{}", version.dashed(), &template.0[..SHORT]))
    }

    /// The revision as a label value and name part.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no revision.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no revision: expected a release and a hash such as 1-6-0-3fa9c1")]
pub struct NotARevision(String);

impl FromStr for Revision {
    type Err = NotARevision;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let well_formed = text.len() <= 48
            && text.rsplit_once('-').is_some_and(|(release, hash)| {
                release.starts_with(|c: char| c.is_ascii_digit())
                    && release
                        .bytes()
                        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                    && hash.len() == SHORT
                    && hash
                        .bytes()
                        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            });
        if well_formed {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotARevision(text.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, json};

    use super::*;

    #[test]
    fn a_revision_is_release_and_hash_and_reads_back() {
        let hash = TemplateHash::of(&[&json!({"a": 1})]).unwrap();
        let revision = Revision::new(Version::new(1, 6, 0), &hash);
        assert_eq!(revision.as_str(), format!("1-6-0-{}", &hash.as_str()[..6]));
        assert_eq!(revision.as_str().parse(), Ok(revision));
    }

    #[test]
    fn foreign_text_is_no_revision() {
        for text in [
            "",
            "1-6-0",
            "1-6-0-xyzxyz",
            "1-6-0-3fa9c",
            "x-3fa9c1",
            "1.6.0-3fa9c1",
            "1-6-0-3FA9C1",
        ] {
            assert!(text.parse::<Revision>().is_err(), "{text}");
        }
        assert!("1".repeat(60).parse::<Revision>().is_err());
    }

    #[test]
    fn a_null_counts_as_absent_and_an_empty_object_does_not() {
        let hash = |value: Value| TemplateHash::of(&[&value]).unwrap();
        assert_eq!(hash(json!({"a": 1, "b": null})), hash(json!({"a": 1})));
        assert_ne!(hash(json!({"a": 1, "b": {}})), hash(json!({"a": 1})));
        assert_ne!(hash(json!(["a,b"])), hash(json!(["a", "b"])));
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,6}".prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("[a-d]{1,3}", inner), 0..4)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect::<Map<_, _>>())),
            ]
        })
    }

    fn reversed(value: &Value) -> Value {
        match value {
            Value::Object(map) => Value::Object(
                map.iter()
                    .rev()
                    .map(|(k, v)| (k.clone(), reversed(v)))
                    .collect(),
            ),
            Value::Array(items) => items.iter().map(reversed).collect(),
            scalar => scalar.clone(),
        }
    }

    proptest! {
        #[test]
        fn the_hash_does_not_depend_on_the_order_of_keys(value in any_value()) {
            prop_assert_eq!(TemplateHash::of(&[&value]).unwrap(), TemplateHash::of(&[&reversed(&value)]).unwrap());
        }

        #[test]
        fn different_values_have_different_hashes(a in any_value(), b in any_value()) {
            prop_assert_eq!(a == b, TemplateHash::of(&[&a]).unwrap() == TemplateHash::of(&[&b]).unwrap());
        }
    }
}
