//! What becomes of a rollout from 1.5.4 when something changes under it.

use super::*;
use crate::api::v1alpha1::OnWindowClose;
use ReleaseChannel::{Rapid, Stable};

/// A rollout to 1.6.0 that a channel started.
const FOLLOWED: InFlight<'static> = InFlight {
    from: Version::new(1, 5, 4),
    to: Version::new(1, 6, 0),
    follows: "Rapid",
    by: Initiator::Channel,
    fixes: false,
    is_revertible: true,
};
/// The same, asked for by a pin.
const ASKED: InFlight<'static> = InFlight {
    follows: "1.6",
    by: Initiator::Spec,
    ..FOLLOWED
};
/// The same, after Finish has begun.
const FINISHING: InFlight<'static> = InFlight {
    is_revertible: false,
    ..ASKED
};
/// The first of two hops to 1.6.
const FIRST_HOP: InFlight<'static> = InFlight {
    from: Version::new(1, 4, 7),
    to: Version::new(1, 5, 4),
    ..ASKED
};
/// A new template at 1.5.4.
const TEMPLATE: InFlight<'static> = InFlight {
    to: Version::new(1, 5, 4),
    follows: "1.5",
    ..ASKED
};
/// A newer patch of 1.5.
const PATCH: InFlight<'static> = InFlight {
    to: Version::new(1, 5, 9),
    follows: "1.5",
    by: Initiator::Operator,
    ..FOLLOWED
};

fn say(course: &Course) -> String {
    let until =
        |until: &Option<Timestamp>| until.map_or_else(|| "-".to_owned(), |at| at.to_string());
    match course {
        Course::GoOn => "goes on".to_owned(),
        Course::FinishWave { until: at, hold } => {
            format!("finishes its wave, then {hold} until {}", until(at))
        }
        Course::Stop { until: at, hold } => format!("stops for {hold} until {}", until(at)),
        Course::TurnBack(because) => format!("turns back: {because}"),
        Course::FinishFirst(because) => format!("is finished first: {because}"),
    }
}

#[test]
fn a_rollout_ends_early_only_for_a_withdrawal_or_another_wish() {
    let closes = |on_window_close, upgrade| Upgrade {
        on_window_close: Some(on_window_close),
        ..at_night("22:00", upgrade)
    };
    let paused = |upgrade| Upgrade {
        paused: Some(true),
        ..upgrade
    };
    let back = "turns back: the spec asks for 1.5 now, which means 1.5.4";
    let mut unknown_zone = at_night("22:00", channel(Rapid));
    unknown_zone.maintenance_windows.as_mut().unwrap()[0].time_zone =
        Some("Europe/Atlantis".into());
    #[rustfmt::skip]
    let table = vec![
        (FOLLOWED, case("nothing changes", channel(Rapid), "1.5.4", "goes on")),
        (ASKED, case("nothing changes for a pin", pin("1.6"), "1.5.4", "goes on")),
        (ASKED, case("a newer patch arrives", pin("1.6"), "1.5.4", "goes on").with([object("1.6.1")])),
        (FOLLOWED, case("the channel moves on", channel(Rapid), "1.5.4", "goes on").with([in_channel("1.6.1", Rapid, "2026-11-01T00:00:00Z")])),
        (FOLLOWED, case("the channel does not list it any more", channel(Rapid), "1.5.4", "goes on").with([object("1.6.0")])),
        (InFlight { to: Version::new(1, 6, 7), ..ASKED }, case("its entry is removed", pin("1.6.7"), "1.5.4", "goes on")),
        (ASKED, case("it is withdrawn", pin("1.6"), "1.5.4", "turns back: 1.6.0 was withdrawn: it loses connections").with([withdrawn("1.6.0")])),
        (FINISHING, case("it is withdrawn during Finish", pin("1.6"), "1.5.4", "is finished first: 1.6.0 was withdrawn: it loses connections").with([withdrawn("1.6.0")])),
        (ASKED, case("the pin goes back", pin("1.5"), "1.5.4", back)),
        (ASKED, case("the pin goes back outside the window", at_night("22:00", pin("1.5")), "1.5.4", back)),
        (FINISHING, case("the pin goes back during Finish", pin("1.5"), "1.5.4", "is finished first: the spec asks for 1.5 now, which means 1.5.4")),
        (ASKED, case("the pin goes back and forth again", pin("1.6"), "1.5.4", "goes on")),
        (ASKED, case("the pin becomes exact and means the same", pin("1.6.0"), "1.5.4", "goes on")),
        (ASKED, case("the pin goes further", pin("1.7"), "1.5.4", "goes on").with([object("1.7.0")])),
        (FIRST_HOP, case("a pin that ends at the first hop", pin("1.5"), "1.4.7", "goes on")),
        (FIRST_HOP, case("a pin on another patch of the first hop", pin("1.5.2"), "1.4.7", "turns back: the spec asks for 1.5.2 now, which means 1.5.2")),
        (ASKED, case("a pin that does not exist", pin("1.9"), "1.5.4", "goes on")),
        (ASKED, case("a pin too far back", pin("1.4"), "1.5.4", "goes on").after([moved("1.5.4", "1.6.0", "Succeeded")])),
        (ASKED, case("the mode is switched to a channel that means the same", channel(Rapid), "1.5.4", "goes on")),
        (ASKED, case("the mode is switched to a channel that means what ran", channel(Stable), "1.5.4", "turns back: the spec asks for Stable now, which means 1.5.4")),
        (FOLLOWED, case("the mode is switched to SelfManaged without a pin", UNPINNED, "1.5.4", back)),
        (TEMPLATE, case("an exact pin on the version whose template rolls out", pin("1.5.4"), "1.5.4", "goes on")),
        (TEMPLATE, case("another version while a template rolls out", pin("1.6"), "1.5.4", "turns back: the spec asks for 1.6 now, which means 1.6.0")),
        (FOLLOWED, case("the window closes", at_night("22:00", channel(Rapid)), "1.5.4", "finishes its wave, then the next maintenance window until 2026-11-21T22:00:00Z")),
        (FOLLOWED, case("the window closes on a rollout that is to be finished", closes(OnWindowClose::FinishRollout, channel(Rapid)), "1.5.4", "goes on")),
        (FOLLOWED, case("the window closes on one that is to stop", closes(OnWindowClose::PauseNow, channel(Rapid)), "1.5.4", "stops for the next maintenance window until 2026-11-21T22:00:00Z")),
        (InFlight { is_revertible: false, ..FOLLOWED }, case("the window closes during Finish", closes(OnWindowClose::PauseNow, channel(Rapid)), "1.5.4", "goes on")),
        (ASKED, case("the window closes on what was asked for", closes(OnWindowClose::PauseNow, pin("1.6")), "1.5.4", "goes on")),
        (FOLLOWED, case("an exclusion begins", frozen(ExclusionScope::NoMinorUpgrades, channel(Rapid)), "1.5.4", "finishes its wave, then the end of exclusion sale until 2026-12-01T00:00:00Z")),
        (PATCH, case("an exclusion of minors begins while a patch rolls out", frozen(ExclusionScope::NoMinorUpgrades, pin("1.5")), "1.5.4", "goes on").with([carrying("1.5.9", "1.30.9")])),
        (PATCH, case("and while one rolls out that is a minor of Istio's", frozen(ExclusionScope::NoMinorUpgrades, pin("1.5")), "1.5.4", "finishes its wave, then the end of exclusion sale until 2026-12-01T00:00:00Z").with([object("1.5.9")])),
        (FOLLOWED, case("the windows cannot be read any more", unknown_zone, "1.5.4", "goes on")),
        (ASKED, case("it is paused", paused(pin("1.6")), "1.5.4", "stops for spec.upgrade.paused to be taken away until -")),
        (ASKED, case("it is paused, and the pin goes back", paused(pin("1.5")), "1.5.4", "stops for spec.upgrade.paused to be taken away until -")),
        (ASKED, case("it is paused, and withdrawn", paused(pin("1.6")), "1.5.4", "stops for spec.upgrade.paused to be taken away until -").with([withdrawn("1.6.0")])),
        (FINISHING, case("it is paused during Finish", paused(pin("1.6")), "1.5.4", "goes on")),
        (FINISHING, case("it is paused by the annotation during Finish", pin("1.6"), "1.5.4", "goes on").annotated()),
        (FINISHING, case("it is paused during Finish, and the pin goes back", paused(pin("1.5")), "1.5.4", "is finished first: the spec asks for 1.5 now, which means 1.5.4")),
        (ASKED, case("it is paused by the annotation", pin("1.6"), "1.5.4", "stops for applink resume until -").annotated()),
    ];
    for (flight, case) in table {
        let said = case.judge(|situation| say(&course(situation, &flight)));
        assert_eq!(said, case.expected, "{}", case.what);
    }
}
