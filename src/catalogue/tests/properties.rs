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
}
