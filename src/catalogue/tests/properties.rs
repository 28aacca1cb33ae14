//! What holds for every input.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn any_text_is_read_without_panic(name in ".{0,40}", istio in ".{0,40}", min in ".{0,20}", day in ".{0,20}", score in any::<f64>()) {
        let mut object = object(&name);
        object.spec.istio_version = istio;
        object.spec.kubernetes.min = min;
        object.spec.released = Some(day);
        object.spec.fixes = vec![ReleaseFix { id: "X".into(), cvss: Some(score), components: vec![] }];
        let _ = Catalogue::overlaid([&object]);
    }

    #[test]
    fn what_is_chosen_anew_always_fits_and_is_not_withdrawn(minor in 25u16..45, patch in 0u16..9, day in 0i64..1200, mode in 0usize..5) {
        let now = at("2026-01-01T00:00:00Z") + jiff::Span::new().hours(day * 24);
        let upgrade = match mode {
            0 => None,
            1 => Some(following(ReleaseChannel::Rapid)),
            2 => Some(following(ReleaseChannel::Stable)),
            3 => Some(pinned("1.5")),
            _ => Some(pinned(&format!("1.5.{patch}"))),
        };
        let gone = withdrawn(&format!("1.5.{patch}"));
        let catalogue = Catalogue::overlaid([&gone]);
        if let Ok(resolution) = resolve(upgrade.as_ref(), None, &catalogue, Minor::new(1, minor), now) {
            prop_assert!(resolution.release.withdrawn.is_none());
            prop_assert!(resolution.release.kubernetes.contains(Minor::new(1, minor)));
        }
    }

    #[test]
    fn without_a_pin_a_running_member_never_changes_its_line(line in 4u16..7, patch in 0u16..5, kubernetes in 30u16..38) {
        let running = Version::new(1, line, if line == 6 { 0 } else { patch });
        let catalogue = Catalogue::overlaid([&object("1.7.0")]);
        let resolution = resolve(None, Some(running), &catalogue, Minor::new(1, kubernetes), at(NOW)).unwrap();
        prop_assert_eq!(resolution.release.version.line(), running.line());
        prop_assert!(resolution.release.version >= running);
    }

    #[test]
    fn a_version_that_is_read_prints_itself(text in "[v0-9.+ -]{0,12}|.{0,12}") {
        if let Ok(version) = text.parse::<Version>() {
            prop_assert_eq!(version.to_string(), text.as_str());
        }
        if let Ok(minor) = text.parse::<Minor>() {
            prop_assert_eq!(minor.to_string(), text.as_str());
        }
        match text.parse::<Pin>() {
            Ok(pin) => prop_assert_eq!(pin.to_string(), text.as_str()),
            Err(error) => prop_assert!(error.to_string().len() <= 300, "{}", error),
        }
    }

    #[test]
    fn what_a_distribution_appends_does_not_change_the_kubernetes_minor(minor in 0u16.., patch in 0u16.., tail in "[-+.a-z][-+.a-z0-9]{0,12}|") {
        let expected = Some(Minor::new(1, minor));
        prop_assert_eq!(Minor::of_kubernetes(&format!("v1.{minor}.{patch}{tail}")), expected);
        prop_assert_eq!(Minor::of_kubernetes(&format!("1.{minor}{tail}")), expected);
    }

    #[test]
    fn any_text_is_or_is_not_a_kubernetes_minor(text in ".{0,24}") {
        if let Some(minor) = Minor::of_kubernetes(&text) {
            let numbers = text.trim_start_matches('v');
            prop_assert!(numbers.starts_with(&minor.to_string()), "{} of {}", minor, text);
        }
    }

    #[test]
    fn a_release_object_is_taken_whole_or_refused_by_name(spec in release_spec(), name in "1\\.[0-9]\\.[0-9]{1,2}|.{0,12}") {
        let Ok(spec) = serde_json::from_value::<MeshReleaseSpec>(spec) else { return Ok(()) };
        let object = MeshRelease::new(&name, spec);
        let (embedded, overlaid) = (Catalogue::embedded(), Catalogue::overlaid([&object]));
        let version = name.parse::<Version>().ok();
        for release in embedded.newest_first().filter(|release| Some(release.version) != version) {
            prop_assert_eq!(overlaid.get(release.version), Some(release));
        }
        if let Some(malformed) = overlaid.refused().get(&name) {
            prop_assert!(!malformed.to_string().is_empty());
            prop_assert_eq!(overlaid.newest_first().count(), embedded.newest_first().count());
        } else {
            let taken = version.and_then(|version| overlaid.get(version));
            prop_assert_eq!(taken.map(|release| release.source), Some(Source::Object));
        }
    }

    #[test]
    fn an_image_keeps_its_name_tag_and_digest_under_any_registry(
        path in "[a-z0-9.:-]{1,12}(/[a-z0-9._-]{1,8}){0,3}/",
        name in "[a-z0-9]{1,8}",
        tag in proptest::option::of("[a-z0-9.-]{1,8}"),
        digest in proptest::option::of("sha256:[0-9a-f]{64}"),
        registry in proptest::option::of("[a-z0-9.:-]{1,16}(/[a-z]{1,5})?/?"),
    ) {
        let image = Image { repository: format!("{path}{name}"), tag: tag.clone(), digest: digest.clone() };
        let reference = image.reference(registry.as_deref());
        let tail = format!(
            "/{name}{}{}",
            tag.map(|tag| format!(":{tag}")).unwrap_or_default(),
            digest.map(|digest| format!("@{digest}")).unwrap_or_default(),
        );
        let front = registry.unwrap_or(path);
        prop_assert_eq!(reference, format!("{}{tail}", front.trim_end_matches('/')));
    }
}

/// Specs near enough to good ones to get past the first check.
fn release_spec() -> impl Strategy<Value = serde_json::Value> {
    let version = || "1\\.(29|30|31|36|40)(\\.[0-9])?|.{0,10}";
    let day = || "20[0-9]{2}-[01][0-9]-[0-3][0-9](T00:00:00Z)?|.{0,10}";
    let image = (
        "[a-z/.]{0,12}",
        proptest::option::of(".{0,8}"),
        proptest::option::of(".{0,8}"),
    );
    let images =
        proptest::collection::btree_map("pilot|install-cni|ztunnel|applink|.{0,6}", image, 0..3);
    let fix = (
        ".{0,8}",
        proptest::option::of(any::<f64>()),
        proptest::collection::vec("pilot|ztunnel|.{0,5}", 0..3),
    );
    (
        (version(), version(), version(), proptest::option::of(version())),
        (day(), proptest::option::of(day())),
        proptest::collection::vec(("Rapid|Stable|Extended|.{0,5}", day()), 0..3),
        images,
        proptest::collection::vec(fix, 0..3),
    )
        .prop_map(|((istio, min, max, gateway), (released, end), channels, images, fixes)| {
            serde_json::json!({
                "istioVersion": istio,
                "kubernetes": {"min": min, "max": max},
                "gatewayAPI": gateway,
                "released": released,
                "endOfLife": end,
                "channels": channels.iter().map(|(name, since)| serde_json::json!({"name": name, "since": since})).collect::<Vec<_>>(),
                "images": images.iter().map(|(name, (repository, tag, digest))| {
                    (name.clone(), serde_json::json!({"repository": repository, "tag": tag, "digest": digest}))
                }).collect::<serde_json::Map<_, _>>(),
                "fixes": fixes.iter().map(|(id, cvss, components)| serde_json::json!({"id": id, "cvss": cvss, "components": components})).collect::<Vec<_>>(),
            })
        })
}
