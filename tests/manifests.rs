//! `manifests/` is what the program would print, and what it asks for is what it is allowed.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed test is the report"
)]

#[path = "desired/case.rs"]
mod case;

use std::path::Path;

use applink::cli::install::generated;
use applink::cli::manifests::{Choice, FORBIDDEN_EVERYWHERE, IMAGE, Member, objects};
use applink::desired::Manifest;
use case::Case;
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn all() -> Vec<Value> {
    objects(&Choice::default()).unwrap()
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects
        .iter()
        .filter(|object| object["kind"] == kind)
        .collect()
}

fn strings(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .map(|items| items.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default()
}

/// Every rule of every role that is bound to the operator.
fn operator_rules(objects: &[Value]) -> Vec<&Value> {
    objects
        .iter()
        .filter(|object| {
            ["ClusterRole", "Role"].contains(&object["kind"].as_str().unwrap_or_default())
                && object["metadata"]["name"] == "applink-operator"
        })
        .flat_map(|role| role["rules"].as_array().unwrap())
        .collect()
}

#[test]
fn the_files_are_what_the_program_generates() {
    for (path, text) in generated(&root().join("manifests"), &root().join("crds")).unwrap() {
        let stored = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            stored == text,
            "{} differs from what the program generates: run `make gen`",
            path.display()
        );
    }
}

#[test]
fn every_document_reads_back_as_the_object_it_was() {
    let text = applink::cli::manifests::stream(&all()).unwrap();
    let read: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    assert_eq!(read, all());
}

#[test]
fn everything_can_be_applied_from_top_to_bottom() {
    let objects = all();
    let position = |kind: &str, last: bool| {
        let mut found = objects
            .iter()
            .enumerate()
            .filter(|(_, object)| object["kind"] == kind)
            .map(|(at, _)| at);
        if last {
            found.next_back()
        } else {
            found.next()
        }
        .unwrap()
    };
    assert!(position("Namespace", true) < position("CustomResourceDefinition", false));
    for later in [
        "ClusterRole",
        "Role",
        "ValidatingAdmissionPolicy",
        "Deployment",
    ] {
        assert!(
            position("CustomResourceDefinition", true) < position(later, false),
            "{later}"
        );
    }
}

#[test]
fn the_image_stands_in_one_place_and_can_be_replaced() {
    let choice = Choice {
        image: "mirror.example/applink:7".to_owned(),
        member: None,
    };
    let text = applink::cli::manifests::stream(&objects(&choice).unwrap()).unwrap();
    assert!(!text.contains(IMAGE));
    assert!(text.contains("image: mirror.example/applink:7"));
}

#[test]
fn a_member_comes_last_and_pins_only_what_was_asked() {
    let choice = Choice {
        member: Some(Member {
            name: "east".to_owned(),
            version: Some("1.6".to_owned()),
        }),
        ..Choice::default()
    };
    let last = objects(&choice).unwrap().pop().unwrap();
    assert_eq!(last["kind"], "MeshMember");
    assert_eq!(
        last["spec"],
        serde_json::json!({"upgrade": {"version": "1.6"}})
    );
}

#[test]
fn the_operator_cannot_widen_its_rights() {
    let objects = all();
    for rule in operator_rules(&objects) {
        for verb in strings(&rule["verbs"]) {
            assert!(!FORBIDDEN_EVERYWHERE.contains(&verb), "{rule}");
        }
        assert!(!strings(&rule["resources"]).contains(&"*"), "{rule}");
        assert!(!strings(&rule["apiGroups"]).contains(&"*"), "{rule}");
        if strings(&rule["verbs"]).contains(&"bind") {
            assert!(
                !strings(&rule["resourceNames"]).is_empty(),
                "bind without names: {rule}"
            );
        }
        let writes_roles = strings(&rule["resources"])
            .iter()
            .any(|resource| ["roles", "clusterroles"].contains(resource))
            && strings(&rule["verbs"])
                .iter()
                .any(|verb| ["create", "update", "patch"].contains(verb));
        assert!(!writes_roles, "{rule}");
    }
}

#[test]
fn the_operator_reads_no_secret_outside_its_own_namespace_but_what_it_wrote() {
    let objects = all();
    for role in of_kind(&objects, "ClusterRole") {
        if role["metadata"]["name"] == "applink-operator" {
            for rule in role["rules"].as_array().unwrap() {
                assert!(!strings(&rule["resources"]).contains(&"secrets"), "{rule}");
            }
        }
    }
    for role in of_kind(&objects, "Role")
        .into_iter()
        .filter(|role| role["metadata"]["namespace"] == "applink-system")
    {
        for rule in role["rules"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|rule| strings(&rule["resources"]).contains(&"secrets"))
        {
            let reads = ["get", "list", "watch"]
                .iter()
                .any(|verb| strings(&rule["verbs"]).contains(verb));
            if reads {
                assert_eq!(
                    strings(&rule["resourceNames"]),
                    ["cacerts", "applink-pull"],
                    "{rule}"
                );
            }
        }
    }
}

#[test]
fn the_operator_runs_restricted() {
    let objects = all();
    let deployment = of_kind(&objects, "Deployment")[0];
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(
        pod["securityContext"]["seccompProfile"]["type"],
        "RuntimeDefault"
    );
    let container = &pod["containers"][0]["securityContext"];
    assert_eq!(container["allowPrivilegeEscalation"], false);
    assert_eq!(
        container["capabilities"]["drop"],
        serde_json::json!(["ALL"])
    );
    let namespace = of_kind(&objects, "Namespace")
        .into_iter()
        .find(|namespace| namespace["metadata"]["name"] == "applink-operator")
        .unwrap();
    assert_eq!(
        namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"],
        "restricted"
    );
}

#[test]
fn every_policy_is_bound_and_denies() {
    let objects = all();
    let bindings = of_kind(&objects, "ValidatingAdmissionPolicyBinding");
    for policy in of_kind(&objects, "ValidatingAdmissionPolicy") {
        let binding = bindings
            .iter()
            .find(|binding| binding["spec"]["policyName"] == policy["metadata"]["name"])
            .unwrap();
        assert_eq!(
            binding["spec"]["validationActions"],
            serde_json::json!(["Deny"])
        );
        // A policy with parameters must let go when no member is left.
        let has_parameters = policy["spec"].get("paramKind").is_some();
        assert_eq!(
            has_parameters,
            binding["spec"]["paramRef"]["parameterNotFoundAction"] == "Allow",
            "{}",
            policy["metadata"]["name"]
        );
    }
}

/// Whether the operator's rules allow a verb on an object.
fn allowed(objects: &[Value], manifest: &Manifest, verb: &str) -> bool {
    let has = |rule: &Value, key: &str, wanted: &str| strings(&rule[key]).contains(&wanted);
    let roles = objects.iter().filter(|role| {
        let everywhere = role["kind"] == "ClusterRole";
        let there = role["kind"] == "Role"
            && role["metadata"]["namespace"].as_str() == manifest.namespace.as_deref();
        role["metadata"]["name"] == "applink-operator" && (everywhere || there)
    });
    roles
        .flat_map(|role| role["rules"].as_array().unwrap())
        .any(|rule| {
            let named = strings(&rule["resourceNames"]);
            has(rule, "apiGroups", &manifest.resource.group)
                && has(rule, "resources", &manifest.resource.plural)
                && has(rule, "verbs", verb)
                && (named.is_empty() || named.contains(&manifest.name.as_str()))
        })
}

#[test]
fn the_operator_may_apply_and_watch_every_object_it_builds() {
    let objects = all();
    let mut missing = std::collections::BTreeSet::new();
    for folder in case::folders().values() {
        for manifest in Case::read(folder).objects() {
            // The namespace ships with the operator.
            let verbs: &[&str] = match manifest.resource.kind.as_str() {
                "Namespace" => &["list", "watch", "patch"],
                _ => &["list", "watch", "create", "patch", "delete"],
            };
            for verb in verbs {
                if !allowed(&objects, &manifest, verb) {
                    missing.insert(format!("{verb} {}", manifest.display_name()));
                }
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_role_that_is_bound_ships_and_may_be_bound() {
    let objects = all();
    let shipped: Vec<&str> = of_kind(&objects, "ClusterRole")
        .iter()
        .filter_map(|role| role["metadata"]["name"].as_str())
        .collect();
    let bindable: Vec<&str> = operator_rules(&objects)
        .into_iter()
        .filter(|rule| strings(&rule["verbs"]).contains(&"bind"))
        .flat_map(|rule| strings(&rule["resourceNames"]))
        .collect();
    for folder in case::folders().values() {
        for manifest in Case::read(folder).objects() {
            if let Some(role) = manifest.body["roleRef"]["name"].as_str() {
                assert!(shipped.contains(&role), "{role} is bound and does not ship");
                assert!(bindable.contains(&role), "{role} may not be bound");
            }
        }
    }
}
