//! `docs/reference.md` is written from the types, and `docs/operations.md` has a remedy for every reason. `UPDATE_GOLDEN=1`
//! rewrites the reference.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed test is the report"
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use applink::api::conditions::{ConditionType, Reason};
use applink::api::crds;
use applink::preflight::Code;
use serde_json::Value;

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(name)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// A table cell: one line, no column separator.
fn cell(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}

fn type_of(schema: &Value) -> String {
    if schema["x-kubernetes-int-or-string"] == true {
        return "number or text".to_owned();
    }
    match schema["type"].as_str() {
        Some("array") => format!("list of {}", type_of(&schema["items"])),
        Some("object") if schema.get("additionalProperties").is_some() => {
            format!("map of {}", type_of(&schema["additionalProperties"]))
        }
        Some("string") if schema["format"] == "date-time" => "time".to_owned(),
        Some("string") => "text".to_owned(),
        Some(kind) => kind.to_owned(),
        None => String::new(),
    }
}

fn limits(schema: &Value) -> String {
    let mut parts = Vec::new();
    if let Some(values) = schema["enum"].as_array() {
        parts.push(
            values
                .iter()
                .filter_map(Value::as_str)
                .collect::<Vec<_>>()
                .join(", "),
        );
    }
    for (key, words) in [
        ("minimum", "at least"),
        ("maximum", "at most"),
        ("maxItems", "entries at most"),
        ("maxLength", "characters at most"),
        ("maxProperties", "keys at most"),
    ] {
        if let Some(limit) = schema[key].as_f64() {
            parts.push(format!("{words} {limit}"));
        }
    }
    if let Some(pattern) = schema["pattern"].as_str() {
        parts.push(format!("`{pattern}`"));
    }
    parts.join("; ")
}

/// Rows of a schema's fields, depth first, each with its whole path.
fn fields(path: &str, schema: &Value, rows: &mut String) {
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    for (name, field) in properties {
        let path = format!("{path}.{name}");
        let description = field["description"].as_str().unwrap_or_default();
        writeln!(
            rows,
            "| `{path}` | {} | {} | {} |",
            type_of(field),
            cell(description),
            cell(&limits(field))
        )
        .unwrap();
        fields(&path, field, rows);
        fields(&format!("{path}[]"), &field["items"], rows);
        fields(&format!("{path}.*"), &field["additionalProperties"], rows);
    }
}

/// What a rule of a schema says when it refuses, with the place it stands at.
fn rules(path: &str, schema: &Value, found: &mut BTreeSet<String>) {
    for rule in schema["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten()
    {
        if let Some(message) = rule["message"].as_str() {
            found.insert(format!("- `{path}`: {}\n", cell(message)));
        }
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        rules(&path, field, found);
        rules(&path, &field["items"], found);
    }
}

/// The sentence above each variant in a source.
fn sentences(source: &str) -> std::collections::BTreeMap<String, String> {
    let mut sentences = std::collections::BTreeMap::new();
    let mut words = Vec::new();
    for line in source.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            words.push(text.trim().to_owned());
        } else {
            if let Some(name) = line
                .strip_suffix(',')
                .filter(|name| name.chars().all(char::is_alphanumeric))
            {
                sentences.insert(name.to_owned(), words.join(" "));
            }
            words.clear();
        }
    }
    sentences
}

fn reference() -> String {
    let mut text = String::from(
        "<!-- Written by `make gen` from the types; do not edit. -->\n# Reference\n\nEvery field, rule, condition and metric. \
         All kinds are of group `applink.dev/v1alpha1` and belong to no namespace.\n",
    );
    for crd in crds() {
        let names = &crd.spec.names;
        let version = &crd.spec.versions[0];
        let schema = serde_json::to_value(
            version
                .schema
                .as_ref()
                .unwrap()
                .open_api_v3_schema
                .as_ref()
                .unwrap(),
        )
        .unwrap();
        writeln!(
            text,
            "\n## {}\n\n{}\n",
            names.kind,
            cell(schema["description"].as_str().unwrap_or_default())
        )
        .unwrap();
        let short = names.short_names.clone().unwrap_or_default().join(", ");
        writeln!(
            text,
            "Short name: `{short}`. In category: `{}`.\n",
            names.categories.clone().unwrap_or_default().join(", ")
        )
        .unwrap();
        for part in ["spec", "status"] {
            let mut rows = String::new();
            fields(part, &schema["properties"][part], &mut rows);
            writeln!(
                text,
                "### {} {part}\n\n| field | type | meaning | limits |\n|---|---|---|---|\n{rows}",
                names.kind
            )
            .unwrap();
        }
        let mut found = BTreeSet::new();
        rules("", &schema, &mut found);
        writeln!(
            text,
            "### What the API server refuses in a {}\n\n{}",
            names.kind,
            found
                .into_iter()
                .collect::<String>()
                .replace("- ``:", "- the whole object:")
        )
        .unwrap();
    }
    let conditions = sentences(include_str!("../src/api/conditions.rs"));
    text.push_str("\n## Conditions\n\nEach carries `observedGeneration`, a reason from the list below and a message.\n\n| type | meaning |\n|---|---|\n");
    for kind in ConditionType::ALL {
        writeln!(text, "| `{kind}` | {} |", cell(&conditions[kind.as_str()])).unwrap();
    }
    text.push_str("\n## Reasons\n\nWhat to do about each: [operations.md](operations.md).\n\n| reason | meaning |\n|---|---|\n");
    for reason in Reason::ALL {
        writeln!(
            text,
            "| `{reason}` | {} |",
            cell(&conditions[reason.as_str()])
        )
        .unwrap();
    }
    let codes = sentences(include_str!("../src/preflight/finding.rs"));
    text.push_str("\n## Checks\n\nWhat is looked at before the first act. A finding that blocks is told by condition Stalled, a warning by condition Accepted: \
         `code: object: what is wrong; what to do`.\n\n| code | meaning |\n|---|---|\n");
    for code in Code::ALL {
        writeln!(text, "| `{code}` | {} |", cell(&codes[code.as_str()])).unwrap();
    }
    text.push_str(
        "\n## Events\n\nOn the MeshMember, when a condition changes, and when Stalled says something else, Accepted warns of \
         something more or refuses for something else under the same reason: type `Normal` or `Warning`, the reason is the condition's, the note says its type, status and message. \
         None tells of a condition that is Unknown, or that goes away (Stalled, Reconciling, LeaveBlocked). `Wave`, which is the reason of no condition, is sent \
         as `Normal` when a wave of nodes begins, once a wave, with its number and how many nodes are there. As `Warning`, `Leftovers` is \
         also sent when a member has left and something could not be removed or looked at, `CustomResources` when definitions that \
         were removed under a running mesh are put back.\n\nOn an ApplicationNetwork and a MeshRelease, when a condition tells of a \
         fault (`RootMissing`, `MalformedRelease`), of another one, and when it is over. How many members of a network serve is told by \
         the members.\n",
    );
    text.push_str("\n## Metrics\n\nOf the operator, at `/metrics`; a counter's name ends in `_total`.\n\n| name | meaning |\n|---|---|\n");
    for (name, meaning) in metrics() {
        writeln!(text, "| `applink_{name}` | {} |", cell(&meaning)).unwrap();
    }
    text
}

/// Names and meanings of the operator's metrics, from the calls that register them.
fn metrics() -> Vec<(String, String)> {
    let source = include_str!("../src/metrics.rs");
    let calls = source.split("registry.register(").skip(1);
    calls
        .map(|call| {
            let mut texts = call.split('"').skip(1).step_by(2);
            let mut next = || texts.next().unwrap_or_default().to_owned();
            (next(), next())
        })
        .collect()
}

#[test]
fn the_reference_is_what_the_types_say() {
    let (path, text) = (docs("reference.md"), reference());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert!(
        read(&path) == text,
        "docs/reference.md differs from the types: run `make gen`"
    );
}

#[test]
fn every_reason_has_its_place_on_the_page_for_three_in_the_morning() {
    let text = read(&docs("operations.md"));
    for reason in Reason::ALL {
        assert!(
            text.contains(&format!("`{reason}`")),
            "docs/operations.md does not mention {reason}"
        );
    }
}

#[test]
fn every_field_is_described() {
    let mut bare = Vec::new();
    for crd in crds() {
        let schema = serde_json::to_value(
            crd.spec.versions[0]
                .schema
                .as_ref()
                .unwrap()
                .open_api_v3_schema
                .as_ref()
                .unwrap(),
        )
        .unwrap();
        let mut rows = String::new();
        fields("spec", &schema["properties"]["spec"], &mut rows);
        bare.extend(
            rows.lines()
                .filter(|row| {
                    row.split(" | ")
                        .nth(2)
                        .is_none_or(|meaning| meaning.trim().is_empty())
                })
                .map(str::to_owned),
        );
    }
    assert_eq!(bare, Vec::<String>::new());
}
