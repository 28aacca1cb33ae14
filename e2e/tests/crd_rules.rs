//! The rules of the API on a real API server: what is accepted, what is refused and with which words; server-side
//! apply, status subresource, printed columns, bounds.

#![allow(clippy::expect_used, reason = "a test fails where it cannot go on")]

#[path = "crd_rules/table.rs"]
mod table;

use std::time::Duration;

use applink::api;
use applink::api::v1alpha1::{ApplicationNetwork, MeshMember, MeshRelease};
use applink::names::{FIELD_MANAGER, STATUS_MANAGER};
use e2e::control_plane::ControlPlane;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use table::{By, Kind, Row};

const DEADLINE: Duration = Duration::from_secs(30);

/// One control plane with our definitions, for all tests of this file.
struct Plane {
    _control_plane: ControlPlane,
    client: Client,
}

impl Plane {
    async fn start() -> Self {
        let control_plane = ControlPlane::start().await.expect("a control plane");
        let client = control_plane.client().await.expect("a client");
        let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
        for definition in api::crds() {
            let name = definition.name_any();
            let written = definitions
                .patch(
                    &name,
                    &PatchParams::apply(FIELD_MANAGER),
                    &Patch::Apply(&definition),
                )
                .await
                .expect("the definition is accepted");
            assert_eq!(written.spec.versions.len(), 1);
            let established =
                await_condition(definitions.clone(), &name, conditions::is_crd_established());
            tokio::time::timeout(DEADLINE, established)
                .await
                .expect("established in time")
                .expect("established");
        }
        Self {
            _control_plane: control_plane,
            client,
        }
    }

    fn api(&self, kind: Kind) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &resource(kind))
    }
}

fn resource(kind: Kind) -> ApiResource {
    let name = match kind {
        Kind::Network => "ApplicationNetwork",
        Kind::Member => "MeshMember",
        Kind::Release => "MeshRelease",
    };
    ApiResource::from_gvk(&GroupVersionKind::gvk("applink.dev", "v1alpha1", name))
}

fn object(kind: Kind, name: &str, spec: &Value) -> DynamicObject {
    DynamicObject::new(name, &resource(kind)).data(json!({ "spec": spec }))
}

/// What the API server said against a row; `None` when it accepted.
async fn judge(plane: &Plane, number: usize, row: &Row) -> Option<String> {
    let api = plane.api(row.kind);
    let name = row.name.map_or_else(
        || {
            if row.kind == Kind::Release {
                format!("1.{number}.0")
            } else {
                format!("row-{number}")
            }
        },
        str::to_owned,
    );
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let Some(old) = &row.old else {
        return api
            .create(&dry, &object(row.kind, &name, &row.spec))
            .await
            .err()
            .map(|error| error.to_string());
    };
    let mut current = api
        .create(&PostParams::default(), &object(row.kind, &name, old))
        .await
        .expect("the old spec is accepted");
    if let Some(status) = &row.status {
        let patch = Patch::Merge(json!({ "status": status }));
        current = api
            .patch_status(&name, &PatchParams::default(), &patch)
            .await
            .expect("the status is accepted");
    }
    let mut next = object(row.kind, &name, &row.spec);
    next.metadata.resource_version = current.resource_version();
    api.replace(&name, &dry, &next)
        .await
        .err()
        .map(|error| error.to_string())
}

async fn the_table_is_obeyed(plane: &Plane) {
    let mut faults = Vec::new();
    for (number, row) in table::rows().iter().enumerate() {
        let said = judge(plane, number, row).await;
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

async fn all_three_kinds_are_applied_and_read_back(plane: &Plane) {
    let apply = PatchParams::apply(FIELD_MANAGER);
    for kind in [Kind::Network, Kind::Member, Kind::Release] {
        let row = table::rows()
            .into_iter()
            .find(|row| row.kind == kind && row.what.starts_with("every"))
            .expect("a row");
        let name = if kind == Kind::Release {
            "2.0.0"
        } else {
            "applied"
        };
        let api = plane.api(kind);
        let wanted = object(kind, name, &row.spec);
        let first = api
            .patch(name, &apply, &Patch::Apply(&wanted))
            .await
            .expect("it is applied");
        let second = api
            .patch(name, &apply, &Patch::Apply(&wanted))
            .await
            .expect("it is applied again");
        assert_eq!(
            first.resource_version(),
            second.resource_version(),
            "{kind:?}: the second apply changed something"
        );
        assert_eq!(
            second.data["spec"], row.spec,
            "{kind:?}: the server changed the spec"
        );
    }
    let member: MeshMember = Api::all(plane.client.clone())
        .get("applied")
        .await
        .expect("a typed member");
    assert_eq!(member.spec.effective_control_plane_replicas(), 1);
    let network: ApplicationNetwork = Api::all(plane.client.clone())
        .get("applied")
        .await
        .expect("a typed network");
    assert_eq!(network.spec.effective_trust_domain(), "shop.example");
    let release: MeshRelease = Api::all(plane.client.clone())
        .get("2.0.0")
        .await
        .expect("a typed release");
    assert!(
        applink::catalogue::Catalogue::overlaid([&release])
            .refused()
            .is_empty()
    );
    // The types write what the server takes: a member of every field is applied as it was read.
    let mut again = member.clone();
    again.metadata.managed_fields = None;
    again.metadata.resource_version = None;
    again.status = None;
    let members: Api<MeshMember> = Api::all(plane.client.clone());
    let force = PatchParams::apply(FIELD_MANAGER).force();
    let written = members
        .patch("applied", &force, &Patch::Apply(&again))
        .await
        .expect("the typed member is applied");
    assert_eq!(written.spec, member.spec);
}

async fn status_is_a_subresource_of_its_own(plane: &Plane) {
    let members: Api<MeshMember> = Api::all(plane.client.clone());
    let mut member = MeshMember::new(
        "reporting",
        applink::api::v1alpha1::MeshMemberSpec::default(),
    );
    let now = jiff::Timestamp::from_second(1_800_000_000).expect("a moment");
    let outcome = applink::status::Outcome {
        generation: Some(1),
        ..applink::status::Outcome::default()
    };
    member.status = Some(applink::status::next(None, &outcome, now));
    let created = members
        .create(&PostParams::default(), &member)
        .await
        .expect("the member is created");
    assert_eq!(created.status, None, "a status in a create is dropped");
    let patch = json!({ "apiVersion": "applink.dev/v1alpha1", "kind": "MeshMember", "status": member.status });
    let params = PatchParams::apply(STATUS_MANAGER).force();
    let written = members
        .patch_status("reporting", &params, &Patch::Apply(&patch))
        .await
        .expect("the status is applied");
    assert_eq!(written.status, member.status);
    assert_eq!(
        written.metadata.generation, created.metadata.generation,
        "a status does not count as a change of spec"
    );
    // Conditions are a map by type: another manager's condition stays beside ours.
    let foreign = json!({ "apiVersion": "applink.dev/v1alpha1", "kind": "MeshMember", "status": { "conditions": [{
        "type": "Foreign", "status": "True", "reason": "Test", "message": "", "lastTransitionTime": "2026-11-21T00:00:00Z" }] } });
    members
        .patch_status(
            "reporting",
            &PatchParams::apply("somebody"),
            &Patch::Apply(&foreign),
        )
        .await
        .expect("applied");
    let both = members
        .patch_status("reporting", &params, &Patch::Apply(&patch))
        .await
        .expect("applied again");
    let types: Vec<String> = both
        .status
        .expect("a status")
        .conditions
        .into_iter()
        .map(|one| one.type_)
        .collect();
    assert!(
        types.contains(&"Foreign".to_owned()) && types.contains(&"Ready".to_owned()),
        "{types:?}"
    );
    // Limits on lists are the server's too.
    let names: Vec<String> = (0..21).map(|number| format!("n{number}")).collect();
    let long = json!({ "status": { "membership": { "namespaces": 21, "enrolled": 0, "meshed": 0, "enrolledNames": names } } });
    let refused = members
        .patch_status("reporting", &PatchParams::default(), &Patch::Merge(&long))
        .await;
    assert!(
        refused
            .expect_err("too long a list")
            .to_string()
            .contains("Too many")
    );
}

/// The columns and the cells of one object, as kubectl prints them.
async fn printed(plane: &Plane, plural: &str, name: &str) -> Vec<(String, String)> {
    let request = http::Request::get(format!("/apis/applink.dev/v1alpha1/{plural}/{name}"))
        .header("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(Vec::new())
        .expect("a request");
    let table: Value = plane.client.request(request).await.expect("a table");
    let columns = table["columnDefinitions"]
        .as_array()
        .expect("columns")
        .iter();
    let cells = table["rows"][0]["cells"].as_array().expect("cells").iter();
    let text = |cell: &Value| {
        cell.as_str()
            .map_or_else(|| cell.to_string(), str::to_owned)
    };
    columns
        .map(|column| text(&column["name"]))
        .zip(cells.map(text))
        .filter(|(name, _)| name != "Age")
        .collect()
}

async fn kubectl_prints_what_matters(plane: &Plane) {
    let members = plane.api(Kind::Member);
    let spec = json!({ "upgrade": { "version": "1.6" } });
    members
        .create(
            &PostParams::default(),
            &object(Kind::Member, "printed", &spec),
        )
        .await
        .expect("created");
    let status = json!({ "status": {
        "version": { "current": "1.5.4", "target": "1.6.0" },
        "upgrade": { "mode": "SelfManaged", "version": "1.6", "follows": "1.6" },
        "rollout": { "id": "1", "step": "Nodes" },
        "conditions": [{ "type": "Ready", "status": "True", "reason": "Serving", "message": "", "lastTransitionTime": "2026-11-21T00:00:00Z" }],
    } });
    members
        .patch_status("printed", &PatchParams::default(), &Patch::Merge(&status))
        .await
        .expect("a status");
    let pair = |name: &str, cell: &str| (name.to_owned(), cell.to_owned());
    assert_eq!(
        printed(plane, "meshmembers", "printed").await,
        [
            pair("Name", "printed"),
            pair("Mode", "SelfManaged"),
            pair("Follows", "1.6"),
            pair("Version", "1.5.4"),
            pair("Target", "1.6.0"),
            pair("Ready", "True"),
            pair("Step", "Nodes"),
        ]
    );
    let release = printed(plane, "meshreleases", "2.0.0").await;
    assert!(release.contains(&pair("Istio", "1.31.0")), "{release:?}");
    assert!(
        release
            .iter()
            .any(|(name, cell)| name == "Channels" && cell.contains("Rapid")),
        "{release:?}"
    );
    let network = printed(plane, "applicationnetworks", "applied").await;
    assert!(network.contains(&pair("mTLS", "Strict")), "{network:?}");
}

async fn short_names_and_the_category_are_served(plane: &Plane) {
    let resources = plane
        .client
        .list_api_group_resources("applink.dev/v1alpha1")
        .await
        .expect("discovery");
    let mut served: Vec<(String, String, bool)> = resources
        .resources
        .iter()
        .filter(|resource| !resource.name.contains('/'))
        .map(|resource| {
            assert_eq!(
                resource.categories,
                Some(vec!["applink".to_owned()]),
                "{}",
                resource.name
            );
            (
                resource.name.clone(),
                resource.short_names.clone().unwrap_or_default().join(","),
                resource.namespaced,
            )
        })
        .collect();
    served.sort();
    let row = |name: &str, short: &str| (name.to_owned(), short.to_owned(), false);
    assert_eq!(
        served,
        [
            row("applicationnetworks", "appnet"),
            row("meshmembers", "mm"),
            row("meshreleases", "mr")
        ]
    );
}

/// A written null never becomes a field that is set, so no rule can be passed by with it.
async fn null_is_dropped(plane: &Plane) {
    let members = plane.api(Kind::Member);
    let spec = json!({ "applicationNetwork": null, "upgrade": { "version": null, "mode": "SelfManaged" } });
    let stored = members
        .create(
            &PostParams::default(),
            &object(Kind::Member, "nulls", &spec),
        )
        .await
        .expect("created");
    assert_eq!(
        stored.data["spec"],
        json!({ "upgrade": { "mode": "SelfManaged" } })
    );
}

async fn oversized_and_unknown_input_is_refused(plane: &Plane) {
    let members = plane.api(Kind::Member);
    let create = async |name: &str, spec: Value| {
        let result = members
            .create(&PostParams::default(), &object(Kind::Member, name, &spec))
            .await;
        result.expect_err("it is refused").to_string()
    };
    let huge = create(
        "huge",
        json!({ "images": { "registry": "a".repeat(2_000_000) } }),
    )
    .await;
    assert!(
        huge.contains("too long") || huge.contains("Too long"),
        "{}",
        &huge[..huge.len().min(400)]
    );
    let labels: serde_json::Map<String, Value> = (0..17)
        .map(|number| (format!("k{number}"), json!("v")))
        .collect();
    let many = create("many", json!({ "dataPlane": { "nodeSelector": labels } })).await;
    assert!(many.contains("Too many"), "{many}");
    let value = create(
        "value",
        json!({ "dataPlane": { "nodeSelector": { "k": "v".repeat(64) } } }),
    )
    .await;
    assert!(value.contains("Too long"), "{value}");
    let strict = http::Request::post("/apis/applink.dev/v1alpha1/meshmembers?fieldValidation=Strict")
        .header("Content-Type", "application/json")
        .body(
            json!({ "apiVersion": "applink.dev/v1alpha1", "kind": "MeshMember", "metadata": { "name": "typo" },
                "spec": { "upgrades": {} } })
            .to_string()
            .into_bytes(),
        )
        .expect("a request");
    let typo = plane
        .client
        .request::<Value>(strict)
        .await
        .expect_err("a misspelt field")
        .to_string();
    assert!(typo.contains("unknown field \"spec.upgrades\""), "{typo}");
}

/// One test, so that one API server serves all of it.
#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_holds_the_rules_of_the_api() {
    let plane = Plane::start().await;
    the_table_is_obeyed(&plane).await;
    all_three_kinds_are_applied_and_read_back(&plane).await;
    status_is_a_subresource_of_its_own(&plane).await;
    kubectl_prints_what_matters(&plane).await;
    short_names_and_the_category_are_served(&plane).await;
    null_is_dropped(&plane).await;
    oversized_and_unknown_input_is_refused(&plane).await;
}

/// Schema rows are many, and a rule's row names one of our own messages.
#[test]
fn rows_refused_by_rules_and_by_the_schema_are_both_there() {
    let rows = table::rows();
    let refused = |by: By| {
        rows.iter()
            .filter(|row| row.refused.is_some_and(|(one, _)| one == by))
            .count()
    };
    let accepted = rows.iter().filter(|row| row.refused.is_none()).count();
    assert!(refused(By::Rule) >= 40 && refused(By::Schema) >= 30 && accepted >= 15);
}
