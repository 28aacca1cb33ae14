//! What people read.

use super::*;
use ReleaseChannel::{Rapid, Stable};

#[test]
fn every_decision_says_what_why_and_when() {
    let frozen = frozen(ExclusionScope::NoUpgrades, channel(Rapid));
    #[rustfmt::skip]
    let table = [
        case("", pin("1.5"), "1.5.4", "1.5.4 runs"),
        case("", UNPINNED, NOTHING, "the move to 1.5.4 (first install) now"),
        case("", pin("1.6"), "1.4.7", "the move to 1.5.4 (the spec asks for 1.6), 1 of 2 hops to 1.6.0 now"),
        case("", at_night("22:00", channel(Rapid)), "1.5.4", "the move to 1.6.0 (channel Rapid has moved) waits for the next maintenance window, which opens 2026-11-21T22:00:00Z"),
        case("", frozen, "1.5.4", "the move to 1.6.0 (channel Rapid has moved) waits for the end of exclusion sale; it may start 2026-12-01T00:00:00Z"),
        case("", channel(Rapid), "1.5.4", "the move to 1.6.0 (channel Rapid has moved) waits for applink resume").annotated(),
        case("", channel(Stable), "1.5.3", "the move to 1.5.4 (of what runs: it is affected by ISTIO-SECURITY-2026-006, fixed in 1.5.4) now"),
        case("", pin("1.5.3"), "1.5.3", "1.5.3 is pinned and runs, and it is affected by ISTIO-SECURITY-2026-006, fixed in 1.5.4; pin another version"),
        case("", channel(Stable), "1.6.0", "1.6.0 runs; Stable means 1.5.4 now, and a member goes back only when somebody asks for it"),
        case("", pin("1.4"), "1.6.0", "1.4.7 is more than one minor back from 1.6.0, which runs; a member goes back one minor at most: pin 1.5 or a later one"),
        case("", pin("1.4"), "1.5.4", "1.4.7 is more than one minor back from 1.6.0, which has run here and left its definitions; a member goes back one minor at most: pin 1.5 or a later one").after([moved("1.6.0", "1.5.4", "Succeeded")]),
        case("", pin("1.8"), "1.6.0", "the way from 1.6.0 to 1.8.0 leads through 1.7, and no release of it can be taken on Kubernetes 1.33; pin a version that can be reached, or apply a MeshRelease for 1.7").with([object("1.8.0")]),
        case("", pin("1.6"), "1.4.7", "the way from 1.4.7 to 1.6.0 leads through 1.5, and 1.5.9 carries Istio 1.31.0, more than one minor above Istio 1.29; pin a version that can be reached, or apply a MeshRelease for 1.5").with([object("1.5.9")]),
        case("", pin("1.4"), "1.4.7", "the way from 1.4.7 to 1.4.9 leads through 1.4, and 1.4.9 carries Istio 1.31.0, more than one minor above Istio 1.29; pin a version that can be reached, or apply a MeshRelease for 1.4").with([object("1.4.9")]),
        case("", pin("1.7"), "1.6.0", "the way from 1.6.0 to 1.7.0 leads through 1.7, and 1.7.0 carries Istio 1.30.4, a minor below Istio 1.31; pin a version that can be reached, or apply a MeshRelease for 1.7").with([carrying("1.7.0", "1.30.4")]),
        case("", pin("1.6"), "1.4.7", "1.5.4 failed here and was taken back: gate Nodes: node a: 3 of 40 connections failed; it is on the way to 1.6.0; it is not tried again before the version or channel changes, or somebody asks: applink retry").failed("1.5.4", "abc"),
        case("", at_night("22:00", pin("1.5")), "1.5.4", "the rollout of the new operator's per-node template waits for the next maintenance window, which opens 2026-11-21T22:00:00Z").template("new", TemplateAuthor::Operator),
        case("", pin("1.5"), "1.5.4", "the rollout of the changed images of its MeshRelease now").template("new", TemplateAuthor::Release),
    ];
    for case in table {
        assert_eq!(case.decide().to_string(), case.expected);
    }
}

#[test]
fn status_says_what_is_waited_for_and_when_the_next_opening_is() {
    let seen = |case: Case| case.judge(|situation| report(situation, &decide(situation)));
    let opens = Some(at("2026-11-21T22:00:00Z"));

    let waiting = seen(case("", at_night("22:00", channel(Rapid)), "1.5.4", "").by("Rapid"));
    assert!(
        waiting
            .waiting_for
            .unwrap()
            .contains("waits for the next maintenance window")
    );
    assert_eq!((waiting.next_window, waiting.again_at), (opens, opens));

    let resting = seen(case("", at_night("22:00", pin("1.5")), "1.5.4", ""));
    assert_eq!((resting.waiting_for, resting.next_window), (None, opens));
    let versions: Vec<&str> = resting
        .available_upgrades
        .iter()
        .map(|upgrade| upgrade.version.as_str())
        .collect();
    assert_eq!(versions, ["1.6.0"]);

    let always = seen(case("", pin("1.5"), "1.5.4", ""));
    assert_eq!((always.next_window, always.again_at), (None, None));
}

#[test]
fn a_decision_is_made_anew_when_a_channel_comes_to_a_release_by_the_clock() {
    let tomorrow = in_channel("1.6.1", Rapid, "2026-11-22T00:00:00Z");
    let case = case("", channel(Rapid), "1.6.0", "")
        .by("Rapid")
        .with([tomorrow]);
    let report = case.judge(|situation| report(situation, &decide(situation)));
    assert_eq!(report.again_at, Some(at("2026-11-22T00:00:00Z")));
}

#[test]
fn what_only_the_owner_can_mend_is_not_tried_again_by_the_clock() {
    let case = case("", pin("1.9"), "1.6.0", "");
    let report = case.judge(|situation| report(situation, &decide(situation)));
    assert_eq!((report.waiting_for, report.again_at), (None, None));
}

#[test]
fn conditions_tell_what_a_decision_means() {
    use crate::api::conditions::Reason;
    let paused = Upgrade {
        paused: Some(true),
        ..pin("1.6")
    };
    let frozen = frozen(ExclusionScope::NoUpgrades, channel(Rapid));
    #[rustfmt::skip]
    let table = [
        (case("", pin("1.5"), "1.5.4", ""), (true, Reason::Current)),
        (case("", channel(Stable), "1.6.0", ""), (true, Reason::Current)),
        (case("", pin("1.6"), "1.5.4", ""), (false, Reason::Progressing)),
        (case("", pin("1.5.2"), "1.5.2", ""), (false, Reason::PinnedToAffectedRelease)),
        (case("", at_night("22:00", channel(Rapid)), "1.5.4", ""), (false, Reason::WaitingForWindow)),
        (case("", frozen, "1.5.4", ""), (false, Reason::Excluded)),
        (case("", paused, "1.5.4", ""), (false, Reason::Paused)),
        (case("", channel(Rapid), "1.5.4", "").held(), (false, Reason::WaitingForStage)),
        (case("", channel(Rapid), "1.5.4", "").failed("1.6.0", "abc"), (false, Reason::ReleaseFailed)),
        (case("", pin("1.9"), "1.5.4", ""), (false, Reason::NotAccepted)),
    ];
    for (case, expected) in table {
        assert_eq!(case.decide().up_to_date(), expected, "{case:?}");
    }
}

#[test]
fn a_failure_counts_until_the_channel_or_pin_changes() {
    let under = |follows: Option<&str>| FailedRelease {
        follows: follows.map(str::to_owned),
        ..failed("1.6.0", "abc")
    };
    assert!(still_counts(&under(Some("Rapid")), "Rapid"));
    assert!(still_counts(&under(None), "Rapid"));
    assert!(!still_counts(&under(Some("Rapid")), "Stable"));
}
