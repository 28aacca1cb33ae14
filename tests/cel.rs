//! The rules of the API, judged by kube's CEL interpreter: the table that `e2e` puts to a real API server.

#![allow(clippy::expect_used, reason = "a test fails where it cannot go on")]

#[path = "../e2e/tests/crd_rules/table.rs"]
mod table;

use applink::api;
use kube::core::cel::{Validator, compile_schema};
use serde_json::{Value, json};
use table::{By, Kind, Row};

fn schema(kind: Kind) -> Value {
    let plural = match kind {
        Kind::Network => "applicationnetworks",
        Kind::Member => "meshmembers",
        Kind::Release => "meshreleases",
    };
    let definition = api::crds()
        .into_iter()
        .find(|definition| definition.spec.names.plural == plural)
        .expect("the kind");
    let schema = &definition.spec.versions[0]
        .schema
        .as_ref()
        .expect("a schema")
        .open_api_v3_schema;
    serde_json::to_value(schema).expect("a schema is JSON")
}

fn object(row: &Row, spec: &Value) -> Value {
    let name = row.name.unwrap_or(if row.kind == Kind::Release {
        "1.6.0"
    } else {
        "a"
    });
    let mut object = json!({ "metadata": { "name": name }, "spec": spec });
    if let Some(status) = &row.status {
        object["status"] = status.clone();
    }
    object
}

#[test]
fn the_rules_accept_and_refuse_what_the_table_says() {
    let [network, member, release] =
        [Kind::Network, Kind::Member, Kind::Release].map(|kind| compile_schema(&schema(kind)));
    let compiled = |kind| match kind {
        Kind::Network => &network,
        Kind::Member => &member,
        Kind::Release => &release,
    };
    let mut faults = Vec::new();
    for row in table::rows()
        .iter()
        .filter(|row| !matches!(row.refused, Some((By::Schema, _))))
    {
        let old = row.old.as_ref().map(|old| object(row, old));
        let result = Validator::new().validate_compiled(
            compiled(row.kind),
            &object(row, &row.spec),
            old.as_ref(),
        );
        let said = result.err().map(|errors| errors.to_string());
        match (&row.refused, said) {
            (None, None) => {}
            (Some((_, expected)), Some(said)) if said.contains(expected) => {}
            (expected, said) => faults.push(format!(
                "{:?} {}: expected {expected:?}, got {said:?}",
                row.kind, row.what
            )),
        }
    }
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

#[test]
fn the_table_is_long_enough_and_names_every_field_that_is_not_live() {
    let rows = table::rows();
    assert!(rows.len() >= 100, "{} rows", rows.len());
    let refusals: Vec<&str> = rows
        .iter()
        .filter_map(|row| row.refused)
        .filter(|(by, _)| *by == By::Rule)
        .map(|(_, part)| part)
        .collect();
    for definition in api::crds() {
        let text = serde_json::to_string(&definition).expect("a definition is JSON");
        for part in text.split("\"message\":\"").skip(1) {
            let message = part.split('"').next().unwrap_or_default();
            assert!(
                refusals.iter().any(|refusal| message.contains(refusal)),
                "no row is refused by: {message}"
            );
        }
    }
}
