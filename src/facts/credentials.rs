//! Registry credentials of one Secret, in the form in which the kubelet takes them.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value, json};

/// The types of Secret that hold registry credentials, and the key they hold them under. Source: Kubernetes,
/// `core/v1/types.go`.
const KINDS: [(&str, &str); 2] = [
    ("kubernetes.io/dockerconfigjson", ".dockerconfigjson"),
    ("kubernetes.io/dockercfg", ".dockercfg"),
];

/// Type of the Secret that [`merged`] is written to.
pub const CREDENTIALS_TYPE: &str = KINDS[0].0;
/// Its key.
pub const CREDENTIALS_KEY: &str = KINDS[0].1;

/// Credentials by registry. Never printed.
#[derive(Clone, PartialEq)]
pub struct Credentials(BTreeMap<String, Value>);

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Credentials {
    /// The credentials in a Secret; none when it is of another type.
    ///
    /// # Errors
    /// What is wrong with it, in words that tell nothing of what it holds.
    pub fn read(kind: &str, data: &BTreeMap<String, Vec<u8>>) -> Option<Result<Self, String>> {
        let (_, key) = KINDS.iter().find(|(name, _)| *name == kind)?;
        Some(Self::parse(key, data.get(*key)))
    }

    fn parse(key: &str, text: Option<&Vec<u8>>) -> Result<Self, String> {
        let text = text.ok_or_else(|| format!("key {key} is missing"))?;
        let mut value: Value =
            serde_json::from_slice(text).map_err(|_| format!("key {key} is no JSON"))?;
        let by_registry = if key == CREDENTIALS_KEY {
            value.get_mut("auths").map(Value::take)
        } else {
            Some(value)
        };
        match by_registry {
            Some(Value::Object(map)) if !map.is_empty() => Ok(Self(map.into_iter().collect())),
            _ => Err(format!("key {key} names no registry")),
        }
    }
}

/// The credentials of several Secrets as one text. Where two name one registry the first counts.
pub fn merged<'a>(all: impl IntoIterator<Item = &'a Credentials>) -> Vec<u8> {
    let mut auths = Map::new();
    for (registry, credentials) in all.into_iter().flat_map(|one| &one.0) {
        auths
            .entry(registry.clone())
            .or_insert_with(|| credentials.clone());
    }
    json!({ "auths": auths }).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: &str, key: &str, text: &str) -> Option<Result<Credentials, String>> {
        let data = BTreeMap::from([(key.to_owned(), text.as_bytes().to_vec())]);
        Credentials::read(kind, &data)
    }

    #[test]
    fn both_forms_are_read_and_merged_the_first_counts_and_nothing_is_printed() {
        let new = read(
            "kubernetes.io/dockerconfigjson",
            ".dockerconfigjson",
            r#"{"auths": {"a.example": {"auth": "c2VjcmV0"}, "b.example": {"auth": "x"}}}"#,
        );
        let old = read(
            "kubernetes.io/dockercfg",
            ".dockercfg",
            r#"{"b.example": {"auth": "y"}, "c.example": {"auth": "z"}}"#,
        );
        let (new, old) = (new.unwrap().unwrap(), old.unwrap().unwrap());
        assert!(!format!("{new:?}").contains("c2VjcmV0"));
        let text: Value = serde_json::from_slice(&merged([&new, &old])).unwrap();
        assert_eq!(
            text,
            json!({"auths": {"a.example": {"auth": "c2VjcmV0"}, "b.example": {"auth": "x"}, "c.example": {"auth": "z"}}})
        );
    }

    #[test]
    fn what_holds_no_credentials_says_why_without_what_it_holds() {
        let kind = CREDENTIALS_TYPE;
        for (key, text, why) in [
            ("other", "{}", "key .dockerconfigjson is missing"),
            (CREDENTIALS_KEY, "hunter2", "is no JSON"),
            (CREDENTIALS_KEY, "[]", "names no registry"),
            (CREDENTIALS_KEY, r#"{"auths": {}}"#, "names no registry"),
        ] {
            let error = read(kind, key, text).unwrap().unwrap_err();
            assert!(error.contains(why) && !error.contains("hunter2"), "{error}");
        }
        assert_eq!(read("Opaque", CREDENTIALS_KEY, "{}"), None);
    }
}
