//! The API server's audit log: who asked for what, and what of a grant was never used.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::PolicyRule;
use serde::Deserialize;

/// What a reader of the log may meet.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("audit log {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is no audit event.
    #[error("audit log {} line {line}: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
}

/// One answered request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When the server received it.
    pub at: Timestamp,
    /// When the server had answered it.
    pub answered: Timestamp,
    /// Verb as RBAC knows it: get, list, watch, create, update, patch, delete, deletecollection.
    pub verb: String,
    /// Resource with its subresource (`pods/portforward`), or the path of a non-resource request.
    pub resource: String,
    /// API group, empty for core.
    pub group: String,
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: String,
    /// Object name, empty for list, watch and create.
    pub name: String,
    /// HTTP status of the answer.
    pub code: u16,
    /// What the client says it is (`User-Agent`).
    pub agent: String,
    /// What the answer says of the object, where the log holds answers.
    pub answer: Answer,
}

/// What an answer says of the object it is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The version the object has now.
    pub version: Option<u64>,
    /// The node a pod is bound to.
    pub node: Option<String>,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            verb,
            resource,
            group,
            namespace,
            name,
            code,
            ..
        } = self;
        let dot = if group.is_empty() { "" } else { "." };
        write!(
            f,
            "{verb} {resource}{dot}{group} {namespace}/{name} -> {code}"
        )
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    stage: String,
    verb: String,
    #[serde(rename = "requestURI", default)]
    uri: String,
    user: User,
    #[serde(default)]
    user_agent: String,
    object_ref: Option<ObjectRef>,
    response_status: Option<ResponseStatus>,
    response_object: Option<ResponseObject>,
    request_received_timestamp: Timestamp,
    stage_timestamp: Option<Timestamp>,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ObjectRef {
    resource: String,
    subresource: String,
    api_group: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize)]
struct ResponseStatus {
    #[serde(default)]
    code: u16,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ResponseObject {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    resource_version: String,
}

/// Of everything that has a spec, pods alone name a node in it.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: Option<String>,
}

/// The requests of `user` that were answered or, for watches, begun; in the log's order.
///
/// A line still being written (the last one, without its end) is left out.
///
/// # Errors
/// [`Error::Read`] and [`Error::Parse`], naming file and line.
pub fn entries(path: &Path, user: &str) -> Result<Vec<Entry>, Error> {
    let failed = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let mut reader = BufReader::new(File::open(path).map_err(failed)?);
    let (mut found, mut line, mut number) = (Vec::new(), String::new(), 0);
    while reader.read_line(&mut line).map_err(failed)? > 0 && line.ends_with('\n') {
        number += 1;
        let parsed = serde_json::from_str(&line).map_err(|source| Error::Parse {
            path: path.to_owned(),
            line: number,
            source,
        })?;
        found.extend(entry(parsed, user));
        line.clear();
    }
    Ok(found)
}

fn entry(line: Line, user: &str) -> Option<Entry> {
    // A watch completes only when it ends, so its start is what counts; all others complete.
    let counted = match line.verb.as_str() {
        "watch" => "ResponseStarted",
        _ => "ResponseComplete",
    };
    if line.stage != counted || line.user.username != user {
        return None;
    }
    let object = line.object_ref.unwrap_or_else(|| ObjectRef {
        resource: line.uri.split('?').next().unwrap_or_default().to_owned(),
        ..ObjectRef::default()
    });
    let resource = if object.subresource.is_empty() {
        object.resource
    } else {
        format!("{}/{}", object.resource, object.subresource)
    };
    let answer = line.response_object.unwrap_or_default();
    Some(Entry {
        at: line.request_received_timestamp,
        answered: line
            .stage_timestamp
            .unwrap_or(line.request_received_timestamp),
        verb: line.verb,
        resource,
        group: object.api_group,
        namespace: object.namespace,
        name: object.name,
        code: line.response_status.map_or(0, |status| status.code),
        agent: line.user_agent,
        answer: Answer {
            version: answer.metadata.resource_version.parse().ok(),
            node: answer.spec.node_name,
        },
    })
}

/// One thing a role allows: a rule taken apart into single verbs and resources.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// Namespace of the role, empty for a cluster role.
    pub namespace: String,
    /// API group.
    pub group: String,
    /// Resource with its subresource.
    pub resource: String,
    /// Verb.
    pub verb: String,
    /// The single object it is limited to, if it is.
    pub name: Option<String>,
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            namespace,
            group,
            resource,
            verb,
            name,
        } = self;
        let place = if namespace.is_empty() { "*" } else { namespace };
        let name = name.as_deref().unwrap_or("*");
        write!(f, "{place} {group:?} {resource} {verb} {name}")
    }
}

/// The single grants of a role's rules.
pub fn grants(namespace: &str, rules: &[PolicyRule]) -> BTreeSet<Grant> {
    let mut all = BTreeSet::new();
    for rule in rules {
        let names: Vec<Option<String>> = match rule.resource_names.as_deref() {
            None | Some([]) => vec![None],
            Some(names) => names.iter().cloned().map(Some).collect(),
        };
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                for verb in &rule.verbs {
                    all.extend(names.iter().map(|name| Grant {
                        namespace: namespace.to_owned(),
                        group: group.clone(),
                        resource: resource.clone(),
                        verb: verb.clone(),
                        name: name.clone(),
                    }));
                }
            }
        }
    }
    all
}

impl Grant {
    /// Whether this grant is one that `entry` needs.
    pub fn serves(&self, entry: &Entry) -> bool {
        self.verb == entry.verb
            && self.resource == entry.resource
            && self.group == entry.group
            && (self.namespace.is_empty() || self.namespace == entry.namespace)
            && self.name.as_ref().is_none_or(|name| *name == entry.name)
    }
}

/// The grants that no entry needed: candidates for removal, or for the listed remainder.
pub fn unused<'a>(grants: &'a BTreeSet<Grant>, entries: &[Entry]) -> Vec<&'a Grant> {
    grants
        .iter()
        .filter(|grant| !entries.iter().any(|entry| grant.serves(entry)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(stage: &str, user: &str, verb: &str, object: &str) -> String {
        format!(
            r#"{{"kind":"Event","stage":"{stage}","verb":"{verb}","requestURI":"/x?y","user":{{"username":"{user}"}},"objectRef":{object},"responseStatus":{{"code":200}},"requestReceivedTimestamp":"2026-11-20T10:00:00.000000Z"}}"#
        )
    }

    fn read(text: &str, user: &str) -> Result<Vec<Entry>, Error> {
        let path = std::env::temp_dir().join(format!("audit-{}-{user}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let found = entries(&path, user);
        std::fs::remove_file(&path).unwrap();
        found
    }

    #[test]
    fn a_users_answered_requests_are_read_once_each() {
        let lease =
            r#"{"resource":"leases","apiGroup":"coordination.k8s.io","namespace":"a","name":"b"}"#;
        let pods = r#"{"resource":"pods","subresource":"portforward","namespace":"a","name":"b"}"#;
        let text = [
            line("RequestReceived", "me", "update", lease),
            line("ResponseComplete", "me", "update", lease),
            line("ResponseComplete", "you", "update", lease),
            line("ResponseStarted", "me", "watch", pods),
            line("ResponseComplete", "me", "watch", pods),
            r#"{"half a li"#.to_owned(),
        ]
        .join("\n");
        let seen: Vec<String> = read(&text, "me")
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            seen,
            [
                "update leases.coordination.k8s.io a/b -> 200",
                "watch pods/portforward a/b -> 200"
            ]
        );
    }

    #[test]
    fn a_broken_line_is_named() {
        let text = format!("{}\nnonsense\n", line("ResponseComplete", "u", "get", "{}"));
        let error = read(&text, "u").unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
    }

    #[test]
    fn a_grant_is_used_only_by_what_needs_it() {
        let rules: Vec<PolicyRule> = serde_json::from_value(serde_json::json!([
            {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["cacerts"], "verbs": ["get", "patch"]},
            {"apiGroups": ["apps"], "resources": ["daemonsets"], "verbs": ["patch"]},
        ]))
        .unwrap();
        let all = grants("applink-system", &rules);
        assert_eq!(all.len(), 3);
        let text = line(
            "ResponseComplete",
            "w",
            "get",
            r#"{"resource":"secrets","namespace":"applink-system","name":"cacerts"}"#,
        ) + "\n"
            + &line(
                "ResponseComplete",
                "w",
                "patch",
                r#"{"resource":"daemonsets","apiGroup":"apps","namespace":"elsewhere","name":"x"}"#,
            )
            + "\n";
        let seen = read(&text, "w").unwrap();
        let left: Vec<String> = unused(&all, &seen)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            left,
            [
                "applink-system \"\" secrets patch cacerts",
                "applink-system \"apps\" daemonsets patch *"
            ]
        );
    }
}
