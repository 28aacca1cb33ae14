//! The objects of the data plane, whole: `tests/golden/<case>/in.yaml` leads to `out.yaml`.
//!
//! `out.yaml` of the case `base` holds every object; that of any other case holds those that differ from `base`, and
//! names the others. `UPDATE_GOLDEN=1` rewrites.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on stops"
)]

mod case;
mod containers;
mod control_plane;
mod identity;
mod nodes;
mod probe;

use std::fmt::Write;

use applink::desired::{self, Manifest};
use case::Case;
use serde_json::Value;

/// The case the others are compared with.
const BASE: &str = "base";

fn objects(case: &str) -> Vec<Manifest> {
    Case::read(&case::folders()[case]).objects()
}

fn object(case: &str, kind: &str, name: &str) -> Value {
    let found = objects(case)
        .into_iter()
        .find(|object| object.resource.kind == kind && object.name.starts_with(name));
    found
        .unwrap_or_else(|| panic!("{case} has no {kind} {name}"))
        .body
}

fn revision(case: &str) -> String {
    desired::revision(&Case::read(&case::folders()[case]).blueprint())
        .unwrap()
        .to_string()
}

/// Value of an environment variable of a workload's only container.
fn variable<'a>(workload: &'a Value, name: &str) -> Option<&'a Value> {
    let all = workload["spec"]["template"]["spec"]["containers"][0]["env"].as_array()?;
    all.iter()
        .find(|variable| variable["name"] == name)
        .map(|variable| &variable["value"])
}

fn written(objects: &[Manifest], base: &[Manifest]) -> String {
    let mut text = String::from("# Generated: UPDATE_GOLDEN=1 cargo test --test desired\n");
    for object in objects {
        if base.contains(object) {
            let _ = writeln!(text, "# as in {BASE}: {}", object.display_name());
        }
    }
    for object in objects.iter().filter(|object| !base.contains(object)) {
        let _ = writeln!(text, "---\n# {}", object.display_name());
        if let Some(initial) = &object.initial {
            let _ = writeln!(text, "# only when created: {initial}");
        }
        text.push_str(&serde_saphyr::to_string(&object.body).unwrap());
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    text
}

#[test]
fn every_case_leads_to_the_objects_it_always_led_to() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let base = objects(BASE);
    let mut wrong = Vec::new();
    for (name, folder) in case::folders() {
        let compared: &[Manifest] = if name == BASE { &[] } else { &base };
        let found = written(&Case::read(&folder).objects(), compared);
        let path = folder.join("out.yaml");
        if update {
            std::fs::write(&path, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        if found != expected {
            let line = found
                .lines()
                .zip(expected.lines())
                .position(|(a, b)| a != b)
                .unwrap_or(0);
            wrong.push(format!("{name}/out.yaml, line {}", line + 1));
        }
    }
    assert!(
        wrong.is_empty(),
        "differs: {wrong:?}; if it is meant, run with UPDATE_GOLDEN=1 and read the difference"
    );
}
