//! `crds/` is generated from the types: this fails on drift, and rewrites the files with `UPDATE_GOLDEN=1`.

#![allow(clippy::expect_used, reason = "a test fails where it cannot go on")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use applink::api;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("crds")
}

fn file_name(definition: &CustomResourceDefinition) -> String {
    format!(
        "{}.yaml",
        definition
            .metadata
            .name
            .as_deref()
            .expect("a definition has a name")
    )
}

#[test]
fn the_files_in_crds_are_what_the_types_say() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut expected = BTreeSet::new();
    for definition in api::crds() {
        let name = file_name(&definition);
        let path = folder().join(&name);
        let text = api::yaml(&definition).expect("a definition is written as YAML");
        if update {
            fs::create_dir_all(folder()).expect("the folder is made");
            fs::write(&path, &text).expect("the file is written");
        }
        let stored = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            stored == text,
            "{} differs from the types: run the test with UPDATE_GOLDEN=1",
            path.display()
        );
        expected.insert(name);
    }
    let found: BTreeSet<String> = fs::read_dir(folder())
        .expect("the folder is there")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .filter(|name| {
            name.starts_with(|first: char| first.is_ascii_lowercase())
                && name.ends_with(".applink.dev.yaml")
        })
        .collect();
    assert_eq!(
        found, expected,
        "a file of a kind that is gone is still there"
    );
}

#[test]
fn the_files_read_back_as_the_definitions() {
    for definition in api::crds() {
        let text = api::yaml(&definition).expect("a definition is written as YAML");
        let back: CustomResourceDefinition =
            serde_saphyr::from_str(&text).expect("the YAML is read back");
        assert_eq!(back, definition);
    }
}

#[test]
fn no_field_keeps_null_and_every_string_list_and_map_of_a_spec_is_bounded() {
    for definition in api::crds() {
        let json = serde_json::to_value(&definition).expect("a definition is JSON");
        let spec = json
            .pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec")
            .expect("a spec");
        let mut faults = Vec::new();
        walk(spec, "spec", &mut faults);
        assert!(faults.is_empty(), "{}: {faults:#?}", file_name(&definition));
        assert!(
            !json.to_string().contains("\"nullable\""),
            "{}",
            file_name(&definition)
        );
    }
}

/// Collects the paths of strings, lists and maps without a bound.
fn walk(schema: &serde_json::Value, path: &str, faults: &mut Vec<String>) {
    let has = |key: &str| schema.get(key).is_some();
    match schema.get("type").and_then(serde_json::Value::as_str) {
        Some("string") if !(has("maxLength") || has("enum") || has("format")) => {
            faults.push(path.to_owned());
        }
        Some("array") if !has("maxItems") => faults.push(path.to_owned()),
        Some("integer" | "number") if !has("minimum") => faults.push(path.to_owned()),
        Some("object") if has("additionalProperties") && !has("maxProperties") => {
            faults.push(path.to_owned());
        }
        _ => {}
    }
    if let Some(properties) = schema
        .get("properties")
        .and_then(serde_json::Value::as_object)
    {
        for (name, property) in properties {
            walk(property, &format!("{path}.{name}"), faults);
        }
    }
    if let Some(items) = schema.get("items") {
        walk(items, &format!("{path}[]"), faults);
    }
    if let Some(values) = schema
        .get("additionalProperties")
        .filter(|values| values.is_object())
    {
        walk(values, &format!("{path}{{}}"), faults);
    }
}
