//! What `MeshRelease` objects make of the catalogue.

use super::*;

/// What it shows; spec, what runs, objects; the answer.
type Overlay = (
    &'static str,
    Option<Upgrade>,
    Option<&'static str>,
    Vec<MeshRelease>,
    Result<&'static str, Reason>,
);

#[test]
fn an_object_adds_an_entry_or_replaces_one_whole() {
    use ReleaseChannel::{Rapid, Stable};
    let mut future = object("1.6.2");
    future.spec.released = Some("2027-01-01".into());
    let mut new_kubernetes = object("1.6.1");
    new_kubernetes.spec.kubernetes.min = "1.36".into();
    #[rustfmt::skip]
    let table: Vec<Overlay> = vec![
        ("a channel moves", Some(following(Stable)), None, vec![in_channel("1.6.1", Stable, "2026-11-01T00:00:00Z")], Ok("1.6.1")),
        ("not before its time", Some(following(Stable)), None, vec![in_channel("1.6.1", Stable, "2026-12-01T00:00:00Z")], Ok("1.5.4")),
        ("a replaced entry loses the channels it had", Some(following(Rapid)), None, vec![object("1.6.0")], Ok("1.5.4")),
        ("a withdrawn entry is in no channel", Some(following(Rapid)), None, vec![withdrawn("1.6.0")], Ok("1.5.4")),
        ("a line passes over a withdrawn patch", Some(pinned("1.5")), None, vec![withdrawn("1.5.4")], Ok("1.5.3")),
        ("a running withdrawn patch gives way, downwards if it must", Some(pinned("1.5")), Some("1.5.4"), vec![withdrawn("1.5.4")], Ok("1.5.3")),
        ("an exact pin on it stays while it runs", Some(pinned("1.5.4")), Some("1.5.4"), vec![withdrawn("1.5.4")], Ok("1.5.4")),
        ("an exact pin on it is not installed", Some(pinned("1.5.4")), None, vec![withdrawn("1.5.4")], Err(Reason::ReleaseWithdrawn)),
        ("a line whose only entry is withdrawn", Some(pinned("1.6")), None, vec![withdrawn("1.6.0")], Err(Reason::ReleaseWithdrawn)),
        ("a new line moves the default", None, None, vec![object("1.7.0")], Ok("1.6.0")),
        ("a new line does not move who runs", None, Some("1.5.4"), vec![object("1.7.0")], Ok("1.5.4")),
        ("a new patch is followed", None, Some("1.5.4"), vec![object("1.5.9")], Ok("1.5.9")),
        ("a range that excludes this cluster", Some(pinned("1.6.1")), None, vec![new_kubernetes.clone()], Err(Reason::KubernetesOutOfRange)),
        ("and a line without it", Some(pinned("1.6")), None, vec![new_kubernetes], Ok("1.6.0")),
        ("a release of the future is not taken", Some(pinned("1.6")), None, vec![future.clone()], Ok("1.6.0")),
        ("nor when it is pinned", Some(pinned("1.6.2")), None, vec![future], Err(Reason::UnknownVersion)),
    ];
    for (name, upgrade, running, objects, expected) in table {
        let expected = expected.map(str::to_owned);
        assert_eq!(
            answer(upgrade.as_ref(), running, &objects, "1.33", NOW),
            expected,
            "{name}"
        );
    }
}

#[test]
fn a_malformed_object_is_named_and_the_others_still_work() {
    let broken = |name: &str, change: fn(&mut MeshReleaseSpec)| {
        let mut object = object(name);
        change(&mut object.spec);
        object
    };
    #[rustfmt::skip]
    let table: Vec<(MeshRelease, &str)> = vec![
        (object("latest"), "metadata.name: \"latest\" is not a version"),
        (broken("1.6.5", |spec| spec.istio_version = "1.31".into()), "istioVersion: \"1.31\" is not a version"),
        (broken("1.6.5", |spec| spec.istio_version = "1.28.3".into()), "installs Istio 1.29, 1.30 and 1.31, not 1.28"),
        (broken("1.6.5", |spec| spec.kubernetes.min = "1".into()), "kubernetes.min: \"1\" is not a version"),
        (broken("1.6.5", |spec| spec.kubernetes.max = "1.30".into()), "kubernetes: the range 1.31 to 1.30 is empty"),
        (broken("1.6.5", |spec| spec.gateway_api = Some("v1".into())), "gatewayAPI: \"v1\" is not a version"),
        (broken("1.6.5", |spec| spec.released = Some("2026-02-30".into())), "released: \"2026-02-30\" is not a day"),
        (broken("1.6.5", |spec| { spec.released = Some("2026-02-01".into()); spec.end_of_life = Some("2026-01-01".into()); }), "endOfLife: 2026-01-01 is before the release"),
        (broken("1.6.5", |spec| spec.channels = [1, 2].map(|_| ChannelEntry { name: ReleaseChannel::Rapid, since: Time(Timestamp::UNIX_EPOCH) }).into()), "channels: Rapid is listed twice"),
        (broken("1.6.5", |spec| { spec.released = Some("2026-02-02".into()); spec.channels = vec![ChannelEntry { name: ReleaseChannel::Rapid, since: Time(at("2026-02-01T23:59:59Z")) }]; }), "channels: Rapid lists it before the release on 2026-02-02"),
        (broken("1.6.5", |spec| spec.fixes = ["X", "X"].map(|id| ReleaseFix { id: id.into(), cvss: None, components: vec![] }).into()), "fixes: \"X\" is listed twice"),
        (broken("1.6.5", |spec| { spec.images.insert("istiod".into(), ReleaseImage { repository: "a".into(), tag: Some("b".into()), digest: None }); }), "images: unknown component \"istiod\""),
        (broken("1.6.5", |spec| { spec.images.insert("pilot".into(), ReleaseImage { repository: "a".into(), tag: None, digest: None }); }), "images.pilot: an image needs"),
        (broken("1.6.5", |spec| spec.fixes = vec![ReleaseFix { id: "X".into(), cvss: Some(11.0), components: vec![] }]), "the score of \"X\""),
        (broken("1.6.5", |spec| spec.fixes = vec![ReleaseFix { id: "X".into(), cvss: Some(f64::NAN), components: vec![] }]), "the score of \"X\""),
        (broken("1.6.5", |spec| spec.fixes = vec![ReleaseFix { id: "X".into(), cvss: None, components: vec!["envoy".into()] }]), "fixes: unknown component \"envoy\""),
    ];
    for (object, expected) in table {
        let name = object.metadata.name.clone().unwrap();
        let catalogue = Catalogue::overlaid([&object, &self::object("1.6.7")]);
        let refused: Vec<(String, String)> = catalogue
            .refused()
            .iter()
            .map(|(name, why)| (name.clone(), why.to_string()))
            .collect();
        assert_eq!(refused.len(), 1, "{expected}");
        assert_eq!(refused[0].0, name, "{expected}");
        assert!(
            refused[0].1.contains(expected),
            "{} does not say {expected}",
            refused[0].1
        );
        assert!(catalogue.get(v("1.6.7")).is_some(), "{expected}");
        assert!(catalogue.get(v("1.6.5")).is_none(), "{expected}");
    }
}

#[test]
fn more_objects_than_are_read_are_refused_by_name() {
    let objects: Vec<_> = (0..=MAX_OBJECTS)
        .map(|patch| object(&format!("1.6.{}", 100 + patch)))
        .collect();
    let catalogue = Catalogue::overlaid(&objects);
    let (last, read) = (v("1.6.600"), v("1.6.599"));
    assert!(catalogue.get(read).is_some() && catalogue.get(last).is_none());
    let refused: Vec<(&String, &Malformed)> = catalogue.refused().iter().collect();
    assert_eq!(refused, [(&"1.6.600".to_owned(), &Malformed::TooMany)]);
    let told = Malformed::TooMany.to_string();
    assert!(
        told.starts_with("500 MeshReleases before this one"),
        "{told}"
    );
}

#[test]
fn a_pin_on_a_refused_object_says_why_it_was_refused() {
    let mut broken = object("1.6.5");
    broken.spec.istio_version = "1.40.0".into();
    let catalogue = Catalogue::overlaid([&broken]);
    let error = resolve(Some(&pinned("1.6.5")), None, &catalogue, k("1.33"), at(NOW)).unwrap_err();
    assert_eq!(error.reason(), Reason::MalformedRelease);
    assert!(
        error
            .to_string()
            .contains("not 1.40; update the operator first"),
        "{error}"
    );
}

#[test]
fn images_come_from_the_usual_place_unless_the_object_or_the_registry_says_otherwise() {
    let mut object = object("1.6.3");
    object.spec.images.insert(
        "ztunnel".into(),
        ReleaseImage {
            repository: "example.com/x/zt".into(),
            tag: Some("a".into()),
            digest: Some(format!("sha256:{}", "0".repeat(64))),
        },
    );
    let catalogue = Catalogue::overlaid([&object]);
    let release = catalogue.get(v("1.6.3")).unwrap();
    let zeros = "0".repeat(64);
    assert_eq!(
        release.image(Component::Pilot, None),
        "registry.istio.io/release/pilot:1.31.0"
    );
    assert_eq!(
        release.image(Component::InstallCni, Some("local:5000/mesh/")),
        "local:5000/mesh/install-cni:1.31.0"
    );
    assert_eq!(
        release.image(Component::Ztunnel, None),
        format!("example.com/x/zt:a@sha256:{zeros}")
    );
    assert_eq!(
        release.image(Component::Ztunnel, Some("local")),
        format!("local/zt:a@sha256:{zeros}")
    );
    assert!(
        release
            .image(Component::Applink, None)
            .ends_with("applink:1.6.3")
    );
}
