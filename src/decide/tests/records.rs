//! What status remembers, against what is asked for now.

use serde_json::{Value, json};

use super::*;
use crate::api::v1alpha1::{MeshMemberSpec, MeshMemberStatus, ReleaseImage, VersionStatus};

fn spec(value: &Value) -> MeshMemberSpec {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn a_changed_template_is_told_by_whose_change_it_is() {
    let known = |hash: &str, settings: Option<&str>, images: Option<&str>| VersionStatus {
        hash: Some(hash.to_owned()),
        settings: settings.map(str::to_owned),
        images: images.map(str::to_owned),
        ..VersionStatus::default()
    };
    let now = Sources {
        settings: "settings",
        images: "images",
    };
    let changed = |by| Template::Changed { hash: "new", by };
    let same = Template::Same;
    let (spec, release, operator) = (
        changed(TemplateAuthor::Spec),
        changed(TemplateAuthor::Release),
        changed(TemplateAuthor::Operator),
    );
    #[rustfmt::skip]
    let table = [
        ("equal", Some(known("new", Some("settings"), Some("images"))), None, same),
        ("equal, made from something else", Some(known("new", Some("others"), Some("others"))), None, same),
        ("the owner changed a setting", Some(known("old", Some("others"), Some("images"))), None, spec),
        ("the MeshRelease has other images", Some(known("old", Some("settings"), Some("others"))), None, release),
        ("both: the owner's starts at once", Some(known("old", Some("others"), Some("others"))), None, spec),
        ("a new operator", Some(known("old", Some("settings"), Some("images"))), None, operator),
        ("a new operator, of before images were recorded", Some(known("old", Some("settings"), None)), None, operator),
        ("of before settings were recorded", Some(known("old", None, None)), None, spec),
        ("what runs counts less than what is recorded", Some(known("old", Some("settings"), Some("images"))), Some("new"), operator),
        ("nothing recorded, and the same runs", None, Some("new"), same),
        ("nothing recorded, and another one runs", None, Some("old"), spec),
        ("nothing recorded, nothing runs", None, None, same),
        ("a status without a hash", Some(VersionStatus::default()), Some("old"), spec),
    ];
    for (what, known, live, expected) in table {
        assert_eq!(
            template(known.as_ref(), live, "new", now),
            expected,
            "{what}"
        );
    }
}

#[test]
fn settings_are_what_the_template_is_made_from_and_nothing_else() {
    let base = settings(&spec(&json!({}))).unwrap();
    let of = |value: &Value| settings(&spec(value)).unwrap();
    for same in [
        json!({"upgrade": {"version": "1.6"}}),
        json!({"upgrade": {"strategy": {"onFailure": "Pause", "batch": {"size": 3}}}}),
        json!({"leavePolicy": "UnenrolNamespaces"}),
        json!({"waypoints": {"replicas": 3}}),
    ] {
        assert_eq!(of(&same), base, "{same}");
    }
    let mut seen = vec![base];
    for other in [
        json!({"dataPlane": {"ztunnel": {"logLevel": "Debug"}}}),
        json!({"dataPlane": {"cni": {"logLevel": "Debug"}}}),
        json!({"dataPlane": {"ztunnel": {"implementation": "Istio"}}}),
        json!({"images": {"registry": "mirror.example"}}),
        json!({"network": "west"}),
        json!({"upgrade": {"strategy": {"drain": {"timeout": "5s"}}}}),
    ] {
        let hash = of(&other);
        assert!(!seen.contains(&hash), "{other}");
        seen.push(hash);
    }
}

#[test]
fn the_images_of_a_release_are_told_apart_by_those_that_run_on_nodes() {
    let of = |component: Option<&str>| {
        let mut object = carrying("1.5.4", "1.30.4");
        if let Some(component) = component {
            let image = ReleaseImage {
                repository: "mirror.example/x".into(),
                tag: Some("2".into()),
                digest: None,
            };
            object.spec.images.insert(component.into(), image);
        }
        let catalogue = Catalogue::overlaid([&object]);
        images(catalogue.get(v("1.5.4")).unwrap()).unwrap()
    };
    let base = of(None);
    let embedded = Catalogue::embedded();
    assert_eq!(images(embedded.get(v("1.5.4")).unwrap()).unwrap(), base);
    assert_eq!(
        (of(Some("pilot")), of(Some("proxyv2"))),
        (base.clone(), base.clone())
    );
    for per_node in ["applink", "ztunnel", "install-cni"] {
        assert_ne!(of(Some(per_node)), base, "{per_node}");
    }
}

#[test]
fn a_rollout_is_read_from_status_as_it_was_begun() {
    let status = |rollout: Value| -> MeshMemberStatus {
        serde_json::from_value(json!({"version": {"current": "1.5.4"}, "rollout": rollout}))
            .unwrap()
    };
    let begun = json!({"id": "1", "step": "Nodes", "from": "1.5.4", "to": "1.6.0", "why": "asked", "initiatedBy": "Channel", "follows": "Rapid"});
    let flight = Flight::of(&status(begun)).unwrap();
    assert_eq!(
        (flight.from, flight.to, flight.by),
        (v("1.5.4"), v("1.6.0"), Initiator::Channel)
    );
    assert_eq!(flight.question("1.6").follows, "Rapid");
    // A repair has no reason, and is no rollout.
    let repair = json!({"id": "1", "step": "Nodes", "to": "1.5.4"});
    assert_eq!(Flight::of(&status(repair)), None);
}

#[test]
fn what_arrives_is_stood_by_until_its_settings_change_and_past_the_point_of_no_return_whatever_does()
 {
    let flight = |settings: Value| {
        let mut rollout = json!({"id": "1", "step": "Nodes", "from": "1.5.4", "to": "1.6.0", "why": "asked", "revision": "1-6-0-3fa9c1"});
        rollout["settings"] = settings;
        let status = json!({"version": {"current": "1.5.4"}, "rollout": rollout});
        Flight::of(&serde_json::from_value(status).unwrap()).unwrap()
    };
    let revision = Some("1-6-0-3fa9c1");
    for (settings, is_finishing, expected) in [
        (json!("before"), false, None),
        (json!("before"), true, revision),
        (json!("now"), false, revision),
        (json!("now"), true, revision),
        (Value::Null, false, revision),
    ] {
        let flight = flight(settings.clone());
        let stands = flight.stands_by("now", is_finishing);
        assert_eq!(stands, expected, "{settings} {is_finishing}");
    }
}
