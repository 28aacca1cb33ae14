//! Takes secrets out of what leaves the cluster in a support bundle.
//!
//! The bundle never asks for Secrets; this is the second line: whatever looks like a key, a token or a password is replaced,
//! in objects, in configuration dumps and in log lines. Removing too much is accepted, too little is a defect.

use serde_json::Value;

/// What stands where a secret was.
pub const REMOVED: &str = "(removed)";

/// Words that make the value under a key, or of an environment variable of that name, a secret.
const SECRET_WORDS: [&str; 8] = [
    "password",
    "passwd",
    "secretkey",
    "privatekey",
    "token",
    "credential",
    "authorization",
    "apikey",
];

/// Keys that contain a secret word and are not secrets: names of objects and switches that help to find a fault.
const HARMLESS_KEYS: [&str; 6] = [
    "serviceaccounttoken",
    "automountserviceaccounttoken",
    "tokenexpirationseconds",
    "imagepullsecrets",
    "continuetoken",
    "credentialname",
];

/// Replaces every secret in an object, in place. Secrets lose all data; managed fields and the last applied copy go too.
pub fn object(value: &mut Value) {
    if let Some(map) = value.as_object_mut() {
        if map
            .get("kind")
            .and_then(Value::as_str)
            .is_some_and(|kind| kind == "Secret")
        {
            for field in ["data", "stringData"] {
                if map.contains_key(field) {
                    map.insert(field.to_owned(), Value::from(REMOVED));
                }
            }
        }
        if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
            if let Some(annotations) = metadata
                .get_mut("annotations")
                .and_then(Value::as_object_mut)
            {
                annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
            }
        }
    }
    walk(value);
}

fn walk(value: &mut Value) {
    match value {
        Value::Object(map) => {
            let named_secret = map
                .get("name")
                .and_then(Value::as_str)
                .is_some_and(is_secret_name);
            if named_secret && map.get("value").is_some_and(Value::is_string) {
                map.insert("value".to_owned(), Value::from(REMOVED));
            }
            for (key, inner) in map.iter_mut() {
                if is_secret_name(key) && (inner.is_string() || inner.is_array()) {
                    *inner = Value::from(REMOVED);
                } else {
                    walk(inner);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(walk),
        Value::String(string) => {
            if looks_secret(string) {
                *string = text(string);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Replaces secrets in free text: blocks of private keys, bearer tokens and signed tokens; everything else stays byte for byte.
pub fn text(input: &str) -> String {
    let mut output = String::with_capacity(input.len());
    let mut in_key = false;
    for line in input.split_inclusive('\n') {
        let begins = line.contains("-----BEGIN") && line.contains("PRIVATE KEY-----");
        if begins && !in_key {
            in_key = true;
            output.push_str(REMOVED);
        }
        if !in_key {
            output.push_str(&line_without_tokens(line));
        }
        if in_key && line.contains("-----END") {
            in_key = false;
            if line.ends_with('\n') {
                output.push('\n');
            }
        }
    }
    output
}

fn line_without_tokens(line: &str) -> String {
    let mut output = String::with_capacity(line.len());
    let mut after_bearer = false;
    for piece in line.split_inclusive([' ', '"', '\'', ',', '=', ':', '\n', '\t']) {
        let word = piece.trim_end_matches([' ', '"', '\'', ',', '=', ':', '\n', '\t']);
        let secret = is_signed_token(word) || (after_bearer && word.len() >= 16);
        if secret {
            output.push_str(REMOVED);
            output.push_str(&piece[word.len()..]);
        } else {
            output.push_str(piece);
        }
        if !word.is_empty() {
            after_bearer = word.eq_ignore_ascii_case("bearer");
        }
    }
    output
}

fn looks_secret(string: &str) -> bool {
    string.contains("PRIVATE KEY-----")
        || string.contains("eyJ")
        || string.to_ascii_lowercase().contains("bearer ")
}

/// A word with a JSON web token in it: three base64url parts, the first of which begins with an encoded brace. Brackets and
/// other marks may touch it.
fn is_signed_token(word: &str) -> bool {
    word.find("eyJ").is_some_and(|at| {
        let token = word.get(at..).unwrap_or_default();
        token.len() >= 30 && token.matches('.').count() >= 2
    })
}

fn is_secret_name(name: &str) -> bool {
    let plain: String = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    !HARMLESS_KEYS.contains(&plain.as_str())
        && SECRET_WORDS.iter().any(|word| plain.ends_with(word))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const KEY: &str = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIA\n-----END EC PRIVATE KEY-----\n";
    const TOKEN: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6Ing.eyJpc3MiOiJrdWJlcm5ldGVz.c2lnbmF0dXJl";

    #[test]
    fn no_secret_of_any_shape_survives_in_an_object() {
        let mut value = json!({
            "kind": "Pod",
            "metadata": {"name": "web", "managedFields": [{"manager": "kubectl"}],
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{\"password\":\"hunter2\"}"}},
            "spec": {"containers": [{"env": [{"name": "DB_PASSWORD", "value": "hunter2"}, {"name": "LOG_LEVEL", "value": "info"}]}]},
            "ca": {"private_key": "hunter2", "cert": format!("-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n{KEY}")},
            "header": format!("Bearer {TOKEN}"),
            "access-token": "hunter2",
        });
        object(&mut value);
        let text = value.to_string();
        for secret in ["hunter2", "MHcCAQEEIA", "c2lnbmF0dXJl", "managedFields"] {
            assert!(!text.contains(secret), "{secret} is left in {text}");
        }
        for kept in ["LOG_LEVEL", "info", "BEGIN CERTIFICATE", "web"] {
            assert!(text.contains(kept), "{kept} is gone from {text}");
        }
    }

    #[test]
    fn a_secret_loses_all_its_data_whatever_it_is_called() {
        let mut value = json!({"kind": "Secret", "metadata": {"name": "cacerts"}, "data": {"anything.pem": "aHVudGVyMg=="}, "stringData": {"a": "b"}});
        object(&mut value);
        assert_eq!(value["data"], REMOVED);
        assert_eq!(value["stringData"], REMOVED);
        assert_eq!(value["metadata"]["name"], "cacerts");
    }

    #[test]
    fn what_only_sounds_secret_is_kept() {
        let mut value = json!({"automountServiceAccountToken": true, "imagePullSecrets": [{"name": "registry"}], "keyAlgorithm": "ECDSA",
            "volumes": [{"projected": {"sources": [{"serviceAccountToken": {"audience": "istio-ca"}}]}}]});
        let before = value.clone();
        object(&mut value);
        assert_eq!(value, before);
    }

    #[test]
    fn log_lines_keep_everything_but_keys_and_tokens() {
        let log = format!(
            "start\nloaded {KEY}request authorization: Bearer abcdefghijklmnopqrstuvwxyz done\ntoken={TOKEN}\nend without newline"
        );
        let clean = text(&log);
        for secret in ["MHcCAQEEIA", "abcdefghijklmnopqrstuvwxyz", "c2lnbmF0dXJl"] {
            assert!(!clean.contains(secret), "{secret} is left in {clean}");
        }
        assert!(clean.starts_with("start\n"));
        assert!(clean.ends_with("end without newline"));
        assert!(clean.contains(" done\n"));
    }

    #[test]
    fn a_token_in_brackets_is_removed() {
        assert_eq!(
            text(&format!("refused ({TOKEN})\n")),
            format!("refused {REMOVED}\n")
        );
    }

    #[test]
    fn text_without_secrets_is_unchanged_byte_for_byte() {
        for line in [
            "",
            "\n",
            "a b  c\t\"d\"\n\n",
            "src.addr=10.0.0.1:80 error=\"connection refused\"\r\n",
        ] {
            assert_eq!(text(line), line);
        }
    }

    #[test]
    fn a_key_that_never_ends_hides_the_rest() {
        assert_eq!(
            text("before\n-----BEGIN PRIVATE KEY-----\nabc\ndef"),
            format!("before\n{REMOVED}")
        );
    }

    proptest! {
        #[test]
        fn whatever_surrounds_a_secret_it_does_not_survive(before in "[ -~\\n]{0,40}", after in "[ -~\\n]{0,40}") {
            let clean = text(&format!("{before}{TOKEN}{after}"));
            prop_assert!(!clean.contains("c2lnbmF0dXJl"), "{}", clean);
            let clean = text(&format!("{before}{KEY}{after}"));
            prop_assert!(!clean.contains("MHcCAQEEIA"), "{}", clean);
        }

        #[test]
        fn text_without_a_marker_of_secrets_is_kept(line in "[ -~\\n]{0,80}") {
            let plain = line.to_ascii_lowercase().replace("bearer", "");
            prop_assert_eq!(text(&plain), plain);
        }
    }
}
