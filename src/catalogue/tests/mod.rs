//! Tables over the embedded catalogue and its overlay.

mod overlay;
mod properties;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::fixtures::*;
use super::*;
use crate::api::conditions::Reason;
use crate::api::v1alpha1::{
    ChannelEntry, KubernetesRange as Range, MeshReleaseSpec, ReleaseFix, ReleaseImage, Upgrade,
    UpgradeMode,
};

/// A moment at which 1.6 is Rapid, 1.5 is Stable and Extended, and 1.4 has ended.
const NOW: &str = "2026-11-21T09:00:00Z";

fn k(text: &str) -> Minor {
    text.parse().unwrap()
}

/// What it shows; spec, what runs, Kubernetes; the answer.
type Row = (
    &'static str,
    Option<Upgrade>,
    Option<&'static str>,
    &'static str,
    Result<&'static str, Reason>,
);

/// The version a spec resolves to, or the reason why not.
fn answer(
    upgrade: Option<&Upgrade>,
    running: Option<&str>,
    objects: &[MeshRelease],
    kubernetes: &str,
    now: &str,
) -> Result<String, Reason> {
    let catalogue = Catalogue::overlaid(objects);
    resolve(upgrade, running.map(v), &catalogue, k(kubernetes), at(now))
        .map(|resolution| resolution.release.version.to_string())
        .map_err(|unresolved| unresolved.reason())
}

#[test]
fn the_embedded_catalogue_carries_three_lines_with_their_patches() {
    let catalogue = Catalogue::embedded();
    let versions: Vec<String> = catalogue
        .newest_first()
        .map(|release| format!("{}={}", release.version, release.istio))
        .collect();
    assert_eq!(
        versions,
        [
            "1.6.0=1.31.0",
            "1.5.4=1.30.4",
            "1.5.3=1.30.3",
            "1.5.2=1.30.2",
            "1.5.1=1.30.1",
            "1.5.0=1.30.0",
            "1.4.7=1.29.7",
            "1.4.6=1.29.6",
            "1.4.5=1.29.5",
            "1.4.4=1.29.4",
            "1.4.3=1.29.3",
            "1.4.2=1.29.2",
            "1.4.1=1.29.1",
            "1.4.0=1.29.0",
        ]
    );
    for release in catalogue.newest_first() {
        assert!(
            SUPPORTED_ISTIO.contains(&release.istio.line()),
            "{}",
            release.version
        );
        assert_eq!(
            release.images.len(),
            Component::ALL.len(),
            "{}",
            release.version
        );
        assert!(release.channels.values().all(|since| {
            release
                .released
                .unwrap()
                .at(0, 0, 0, 0)
                .in_tz("UTC")
                .unwrap()
                .timestamp()
                <= *since
        }));
    }
}

#[test]
fn figures_that_nobody_published_are_absent_or_said_to_be_estimates() {
    let catalogue = Catalogue::embedded();
    let line = |version: &str| catalogue.get(v(version)).unwrap();
    assert_eq!(line("1.6.0").kubernetes.to_string(), "1.32 to 1.36");
    assert_eq!(line("1.6.0").end_of_life, None);
    assert_eq!(line("1.5.4").end_of_life, None);
    assert_eq!(line("1.4.7").end_of_life.unwrap().to_string(), "2026-10-12");
}

#[test]
fn channels_move_with_the_clock_alone() {
    use ReleaseChannel::{Extended, Rapid, Stable};
    let table = [
        (Rapid, "2026-07-13T00:00:00Z", Ok("1.5.3")),
        (Rapid, "2026-09-20T23:59:59Z", Ok("1.5.4")),
        (Rapid, "2026-09-21T00:00:00Z", Ok("1.6.0")),
        (Stable, "2026-09-20T23:59:59Z", Ok("1.4.7")),
        (Stable, "2026-09-21T00:00:00Z", Ok("1.5.4")),
        (Extended, "2026-10-12T12:00:00Z", Ok("1.4.7")),
        (Extended, NOW, Ok("1.5.4")),
        (
            Stable,
            "2026-01-01T00:00:00Z",
            Err(Reason::NoReleaseInChannel),
        ),
    ];
    for (channel, now, expected) in table {
        let expected = expected.map(str::to_owned);
        assert_eq!(
            answer(Some(&following(channel)), None, &[], "1.33", now),
            expected,
            "{channel:?} {now}"
        );
    }
}

#[test]
fn a_spec_resolves_to_one_release_or_a_reason() {
    use ReleaseChannel::{Extended, Rapid, Stable};
    let full = |channel| Some(following(channel));
    let pin = |version: &str| Some(pinned(version));
    let fully = Some(Upgrade {
        mode: Some(UpgradeMode::FullyManaged),
        ..Upgrade::default()
    });
    #[rustfmt::skip]
    let table: Vec<Row> = vec![
        // Nothing said.
        ("first install takes the line before the newest", None, None, "1.33", Ok("1.5.4")),
        ("an empty upgrade means the same", Some(Upgrade::default()), None, "1.33", Ok("1.5.4")),
        ("only lines that fit count; the only one is taken although it has ended", None, None, "1.31", Ok("1.4.7")),
        ("two lines fit", None, None, "1.36", Ok("1.5.4")),
        ("nothing fits", None, None, "1.37", Err(Reason::KubernetesOutOfRange)),
        ("a running member keeps its line", None, Some("1.4.2"), "1.33", Ok("1.4.7")),
        ("a running member is never taken to another line", None, Some("1.6.0"), "1.33", Ok("1.6.0")),
        ("a line that runs is kept although Kubernetes moved out of its range", None, Some("1.4.7"), "1.36", Ok("1.4.7")),
        ("what runs is in no catalogue", None, Some("1.3.9"), "1.33", Err(Reason::UnknownVersion)),
        // Line pins.
        ("a line means its newest patch", pin("1.4"), None, "1.33", Ok("1.4.7")),
        ("the newest line", pin("1.6"), None, "1.33", Ok("1.6.0")),
        ("patches follow", pin("1.5"), Some("1.5.1"), "1.33", Ok("1.5.4")),
        ("an unknown line", pin("1.9"), None, "1.33", Err(Reason::UnknownVersion)),
        ("a line that is gone", pin("1.3"), None, "1.33", Err(Reason::UnknownVersion)),
        ("a line that does not fit", pin("1.4"), None, "1.36", Err(Reason::KubernetesOutOfRange)),
        ("another line than what runs", pin("1.6"), Some("1.5.4"), "1.33", Ok("1.6.0")),
        // Exact pins.
        ("an exact pin is that version", pin("1.5.2"), None, "1.33", Ok("1.5.2")),
        ("an exact pin stays", pin("1.5.2"), Some("1.5.2"), "1.33", Ok("1.5.2")),
        ("an exact pin stays out of range once it runs", pin("1.4.7"), Some("1.4.7"), "1.36", Ok("1.4.7")),
        ("but is not installed there", pin("1.4.7"), None, "1.36", Err(Reason::KubernetesOutOfRange)),
        ("an unknown patch", pin("1.6.9"), None, "1.33", Err(Reason::UnknownVersion)),
        ("a pin that runs and left the catalogue", pin("1.6.9"), Some("1.6.9"), "1.33", Err(Reason::UnknownVersion)),
        ("not a version", pin("latest"), None, "1.33", Err(Reason::InvalidSpec)),
        ("not a version either", pin("v1.5"), None, "1.33", Err(Reason::InvalidSpec)),
        // Channels.
        ("the default channel is Stable", fully, None, "1.33", Ok("1.5.4")),
        ("Rapid", full(Rapid), None, "1.33", Ok("1.6.0")),
        ("Extended", full(Extended), None, "1.33", Ok("1.5.4")),
        ("a channel takes the highest that fits", full(Stable), None, "1.31", Ok("1.4.7")),
        ("Rapid has nothing for an old cluster", full(Rapid), None, "1.31", Err(Reason::NoReleaseInChannel)),
        ("a channel without a release", full(Rapid), None, "1.37", Err(Reason::NoReleaseInChannel)),
        ("a channel may mean less than what runs", full(Stable), Some("1.6.0"), "1.33", Ok("1.5.4")),
    ];
    for (name, upgrade, running, kubernetes, expected) in table {
        let expected = expected.map(str::to_owned);
        assert_eq!(
            answer(upgrade.as_ref(), running, &[], kubernetes, NOW),
            expected,
            "{name}"
        );
    }
}

#[test]
fn every_error_says_what_can_be_done() {
    let catalogue = Catalogue::embedded();
    let error = |upgrade: &Upgrade, kubernetes: &str| {
        resolve(Some(upgrade), None, &catalogue, k(kubernetes), at(NOW))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        error(&pinned("1.9"), "1.33"),
        "spec.upgrade.version 1.9 is in no catalogue; known versions: 1.6, 1.5, 1.4; pin one of them or apply a MeshRelease"
    );
    assert_eq!(
        error(&pinned("1.9.1"), "1.33"),
        "spec.upgrade.version 1.9.1 is in no catalogue; known versions: 1.6.0, 1.5.4, 1.5.3, 1.5.2, 1.5.1 and 9 more; \
         pin one of them or apply a MeshRelease"
    );
    assert_eq!(
        error(&pinned("1.4"), "1.36"),
        "1.4 supports Kubernetes 1.31 to 1.35, and this cluster runs 1.36; versions for this cluster: 1.6, 1.5"
    );
    assert_eq!(
        error(&following(ReleaseChannel::Rapid), "1.31"),
        "channel Rapid has no release for Kubernetes 1.31; versions for this cluster: 1.4"
    );
}

#[test]
fn notices_tell_what_is_wrong_with_what_is_pinned() {
    let catalogue = Catalogue::overlaid([&withdrawn("1.5.1")]);
    let notices = |version: &str, running: Option<&str>, kubernetes: &str| {
        let resolution = resolve(
            Some(&pinned(version)),
            running.map(v),
            &catalogue,
            k(kubernetes),
            at(NOW),
        )
        .unwrap();
        resolution
            .notices
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(notices("1.6", None, "1.33"), [""; 0]);
    assert_eq!(
        notices("1.5.3", None, "1.33"),
        ["it is affected by ISTIO-SECURITY-2026-006, fixed in 1.5.4"]
    );
    assert_eq!(
        notices("1.4", None, "1.33"),
        ["its support ended on 2026-10-12"]
    );
    assert_eq!(
        notices("1.5.1", Some("1.5.1"), "1.40"),
        [
            "it was withdrawn: it loses connections",
            "it supports Kubernetes 1.31 to 1.37, and this cluster runs 1.40"
        ]
    );
}

#[test]
fn vulnerabilities_are_what_later_patches_of_the_line_fix() {
    let catalogue = Catalogue::embedded();
    let ids = |version: &str| {
        catalogue
            .vulnerabilities(v(version))
            .iter()
            .map(|fix| fix.id[15..].to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        ids("1.4.0"),
        ["2026-001", "2026-003", "2026-004", "2026-005", "2026-006"]
    );
    assert_eq!(ids("1.5.2"), ["2026-005", "2026-006"]);
    assert_eq!(ids("1.5.4"), [""; 0]);
    assert_eq!(ids("1.6.0"), [""; 0]);
    let worst = catalogue
        .vulnerabilities(v("1.4.0"))
        .into_iter()
        .map(|fix| fix.cvss_tenths)
        .max()
        .flatten();
    assert_eq!(worst, Some(87));
    assert!(
        catalogue
            .vulnerabilities(v("1.4.0"))
            .iter()
            .all(|fix| !fix.touches_nodes())
    );
}

#[test]
fn available_upgrades_are_the_newest_of_each_line_nearest_first() {
    let catalogue = Catalogue::overlaid([&withdrawn("1.6.1")]);
    let list = |running: &str, kubernetes: &str| {
        catalogue
            .available_upgrades(v(running), k(kubernetes), at(NOW))
            .into_iter()
            .map(|upgrade| {
                format!(
                    "{} {} {} {}",
                    upgrade.version,
                    upgrade.istio_version,
                    upgrade.channels.join("+"),
                    upgrade.fixes
                )
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(
        list("1.4.5", "1.33"),
        [
            "1.4.7 1.29.7 Stable+Extended 2",
            "1.5.4 1.30.4 Rapid+Stable+Extended 2",
            "1.6.0 1.31.0 Rapid 2"
        ]
    );
    assert_eq!(list("1.4.7", "1.31"), [""; 0]);
    assert_eq!(list("1.6.0", "1.33"), [""; 0]);
}

#[test]
fn resolution_tells_mode_channel_and_pin_in_effect() {
    let catalogue = Catalogue::embedded();
    let seen = |upgrade: Option<&Upgrade>, running: Option<&str>| {
        let resolution = resolve(upgrade, running.map(v), &catalogue, k("1.33"), at(NOW)).unwrap();
        (
            resolution.mode,
            resolution.channel,
            resolution.pin.map(|pin| pin.to_string()),
        )
    };
    assert_eq!(
        seen(None, None),
        (UpgradeMode::SelfManaged, None, Some("1.5".into()))
    );
    assert_eq!(
        seen(None, Some("1.4.2")),
        (UpgradeMode::SelfManaged, None, Some("1.4".into()))
    );
    assert_eq!(
        seen(Some(&pinned("1.6.0")), None),
        (UpgradeMode::SelfManaged, None, Some("1.6.0".into()))
    );
    let rapid = following(ReleaseChannel::Rapid);
    assert_eq!(
        seen(Some(&rapid), None),
        (UpgradeMode::FullyManaged, Some(ReleaseChannel::Rapid), None)
    );
}

#[test]
fn one_hop_leads_to_the_newest_of_the_next_line_of_its_own_and_of_the_one_before() {
    let mut apart = object("1.7.0");
    apart.spec.kubernetes = Range {
        min: "1.37".into(),
        max: "1.39".into(),
    };
    let mut gone = withdrawn("1.5.4");
    gone.spec.istio_version = "1.30.4".into();
    // Istio counts, too: 1.29 is two minors below it.
    let ahead = carrying("1.4.9", "1.31.0");
    let catalogue = Catalogue::overlaid([&gone, &apart, &ahead]);
    let hops = |version: &str| {
        catalogue
            .one_hop(catalogue.get(v(version)).unwrap(), at(NOW))
            .iter()
            .map(|release| release.version.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(hops("1.4.5"), ["1.5.3", "1.4.7"]);
    assert_eq!(hops("1.5.3"), ["1.6.0", "1.4.7"]);
    assert_eq!(hops("1.5.4"), ["1.6.0", "1.5.3", "1.4.7"]);
    assert_eq!(hops("1.6.0"), ["1.5.3"]);
    assert_eq!(hops("1.4.9"), [""; 0]);
}

#[test]
fn the_catalogue_tells_when_it_means_something_else_by_the_clock_alone() {
    let catalogue = Catalogue::embedded();
    let table = [
        ("2026-09-20T23:00:00Z", Some("2026-09-21T00:00:00Z")),
        // The day after the end of 1.4, on which Extended comes to 1.5 as well.
        ("2026-10-12T12:00:00Z", Some("2026-10-13T00:00:00Z")),
        ("2026-10-13T00:00:00Z", None),
    ];
    for (now, expected) in table {
        assert_eq!(catalogue.next_change(at(now)), expected.map(at), "{now}");
    }
}
