//! Windows and exclusions as tables; `oracle` compares them with a clock that is walked minute by minute.

mod oracle;
mod refused;

use jiff::Timestamp;
use jiff::tz::TimeZoneDatabase;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;
use crate::api::v1alpha1::{
    Day, Exclusion as ExclusionSpec, ExclusionScope, MaintenanceWindow, OnWindowClose, Upgrade,
};

const PATCH: Work = Work {
    is_minor: false,
    fixes: false,
};
const MINOR: Work = Work {
    is_minor: true,
    fixes: false,
};
const FIX: Work = Work {
    is_minor: true,
    fixes: true,
};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn window(days: &[Day], start: &str, duration: &str, zone: Option<&str>) -> MaintenanceWindow {
    MaintenanceWindow {
        days: days.to_vec(),
        start: start.to_owned(),
        duration: duration.to_owned(),
        time_zone: zone.map(str::to_owned),
    }
}

fn exclusion(name: &str, from: &str, to: &str, scope: Option<ExclusionScope>) -> ExclusionSpec {
    ExclusionSpec {
        name: name.to_owned(),
        from: Time(at(from)),
        to: Time(at(to)),
        scope,
    }
}

fn upgrade(windows: Vec<MaintenanceWindow>, exclusions: Vec<ExclusionSpec>) -> Upgrade {
    Upgrade {
        maintenance_windows: (!windows.is_empty()).then_some(windows),
        exclusions: (!exclusions.is_empty()).then_some(exclusions),
        ..Upgrade::default()
    }
}

fn calendar(windows: Vec<MaintenanceWindow>, exclusions: Vec<ExclusionSpec>) -> Calendar {
    read(&upgrade(windows, exclusions)).unwrap()
}

fn read(upgrade: &Upgrade) -> Result<Calendar, Fault> {
    Calendar::read(Some(upgrade), &TimeZoneDatabase::from_env())
}

/// `open`, `open until T`, `closed`, `closed until T`, and what closes it.
fn say(gate: &Gate) -> String {
    match gate {
        Gate::Open { closes: None } => "open".to_owned(),
        Gate::Open {
            closes: Some(closes),
        } => format!("open until {closes}"),
        Gate::Closed { until, by } => {
            let until =
                until.map_or_else(|| "for ever".to_owned(), |until| format!("until {until}"));
            match by {
                Closure::Window => format!("closed {until}"),
                Closure::Exclusion { name } => format!("closed by {name} {until}"),
            }
        }
    }
}

#[test]
fn nothing_said_is_always_open() {
    let now = at("2026-11-21T12:00:00Z");
    for calendar in [
        Calendar::read(None, &TimeZoneDatabase::from_env()).unwrap(),
        calendar(Vec::new(), Vec::new()),
    ] {
        assert_eq!(say(&calendar.gate(MINOR, now)), "open");
        assert_eq!(calendar.next_opening(now), None);
    }
}

#[test]
fn a_window_is_open_from_its_start_for_its_duration_in_its_zone() {
    use Day::{Friday, Saturday, Sunday};
    let berlin = Some("Europe/Berlin");
    let york = Some("America/New_York");
    let table: Vec<(&str, Vec<MaintenanceWindow>, &str, &str)> = vec![
        // 2026-11-21 is a Saturday.
        (
            "before",
            vec![window(&[Saturday], "22:30", "4h", berlin)],
            "2026-11-21T21:29:59Z",
            "closed until 2026-11-21T21:30:00Z",
        ),
        (
            "the first moment",
            vec![window(&[Saturday], "22:30", "4h", berlin)],
            "2026-11-21T21:30:00Z",
            "open until 2026-11-22T01:30:00Z",
        ),
        (
            "past midnight",
            vec![window(&[Saturday], "22:30", "4h", berlin)],
            "2026-11-22T01:29:59Z",
            "open until 2026-11-22T01:30:00Z",
        ),
        (
            "the moment after the last",
            vec![window(&[Saturday], "22:30", "4h", berlin)],
            "2026-11-22T01:30:00Z",
            "closed until 2026-11-28T21:30:00Z",
        ),
        (
            "no zone is UTC",
            vec![window(&[Saturday], "22:30", "4h", None)],
            "2026-11-21T22:30:00Z",
            "open until 2026-11-22T02:30:00Z",
        ),
        (
            "UTC by name",
            vec![window(&[Saturday], "22:30", "90m", Some("UTC"))],
            "2026-11-21T22:30:00Z",
            "open until 2026-11-22T00:00:00Z",
        ),
        (
            "every day",
            vec![window(&[], "03:00", "1h", None)],
            "2026-11-21T12:00:00Z",
            "closed until 2026-11-22T03:00:00Z",
        ),
        (
            "the sooner of two",
            vec![
                window(&[Sunday], "03:00", "1h", None),
                window(&[Saturday], "20:00", "1h", None),
            ],
            "2026-11-21T12:00:00Z",
            "closed until 2026-11-21T20:00:00Z",
        ),
        (
            "two that touch are one",
            vec![
                window(&[Saturday], "20:00", "4h", None),
                window(&[Sunday], "00:00", "2h", None),
            ],
            "2026-11-21T21:00:00Z",
            "open until 2026-11-22T02:00:00Z",
        ),
        (
            "two that overlap are one",
            vec![
                window(&[Saturday], "20:00", "4h", None),
                window(&[Saturday], "22:00", "1h", None),
            ],
            "2026-11-21T21:00:00Z",
            "open until 2026-11-22T00:00:00Z",
        ),
        (
            "longer than a day",
            vec![window(&[Friday], "20:00", "48h", None)],
            "2026-11-22T19:00:00Z",
            "open until 2026-11-22T20:00:00Z",
        ),
        (
            "day after day without a gap",
            vec![window(&[], "00:00", "24h", None)],
            "2026-11-21T12:00:00Z",
            "open",
        ),
        (
            "a whole week",
            vec![window(&[Friday], "00:00", "168h", None)],
            "2026-11-21T12:00:00Z",
            "open",
        ),
        // The clock in Berlin jumps from 02:00 to 03:00 on 2027-03-28.
        (
            "a start that the clock jumps over",
            vec![window(&[Sunday], "02:30", "2h", berlin)],
            "2027-03-28T00:59:00Z",
            "closed until 2027-03-28T01:00:00Z",
        ),
        (
            "four hours over the jump",
            vec![window(&[Sunday], "00:00", "4h", berlin)],
            "2027-03-28T00:00:00Z",
            "open until 2027-03-28T03:00:00Z",
        ),
        // It goes back from 03:00 to 02:00 on 2026-10-25.
        (
            "a start that the clock shows twice",
            vec![window(&[Sunday], "02:30", "30m", berlin)],
            "2026-10-25T00:30:00Z",
            "open until 2026-10-25T01:00:00Z",
        ),
        (
            "not again the second time",
            vec![window(&[Sunday], "02:30", "30m", berlin)],
            "2026-10-25T01:30:00Z",
            "closed until 2026-11-01T01:30:00Z",
        ),
        (
            "four hours over the clock put back",
            vec![window(&[Sunday], "00:00", "4h", berlin)],
            "2026-10-25T01:59:00Z",
            "open until 2026-10-25T02:00:00Z",
        ),
        // New York jumps on 2027-03-14: the same local time is another moment before and after.
        (
            "before the change",
            vec![window(&[Saturday], "20:00", "1h", york)],
            "2027-03-13T23:00:00Z",
            "closed until 2027-03-14T01:00:00Z",
        ),
        (
            "after the change",
            vec![window(&[Saturday], "20:00", "1h", york)],
            "2027-03-15T00:00:00Z",
            "closed until 2027-03-21T00:00:00Z",
        ),
        // Samoa went from Thursday, 29 December 2011, straight to Saturday.
        (
            "a day that never was",
            vec![window(&[Friday], "10:00", "1h", Some("Pacific/Apia"))],
            "2011-12-30T09:59:00Z",
            "closed until 2011-12-30T10:00:00Z",
        ),
    ];
    for (what, windows, now, expected) in table {
        let calendar = calendar(windows, Vec::new());
        assert_eq!(say(&calendar.gate(MINOR, at(now))), expected, "{what}");
    }
}

#[test]
fn exclusions_hold_back_what_they_are_about() {
    use ExclusionScope::{NoMinorUpgrades, NoUpgrades};
    let nightly = || vec![window(&[], "22:00", "4h", None)];
    let sale = |scope| {
        exclusion(
            "sale",
            "2026-11-20T00:00:00Z",
            "2026-12-01T00:00:00Z",
            scope,
        )
    };
    let audit = exclusion(
        "audit",
        "2026-11-30T00:00:00Z",
        "2026-12-03T23:00:00Z",
        None,
    );
    let now = at("2026-11-21T23:00:00Z");
    let table = [
        (
            "everything by default",
            nightly(),
            vec![sale(None)],
            PATCH,
            "closed by sale until 2026-12-01T00:00:00Z",
        ),
        (
            "everything",
            nightly(),
            vec![sale(Some(NoUpgrades))],
            MINOR,
            "closed by sale until 2026-12-01T00:00:00Z",
        ),
        (
            "minor upgrades",
            nightly(),
            vec![sale(Some(NoMinorUpgrades))],
            MINOR,
            "closed by sale until 2026-12-01T00:00:00Z",
        ),
        (
            "patches pass",
            nightly(),
            vec![sale(Some(NoMinorUpgrades))],
            PATCH,
            "open until 2026-11-22T02:00:00Z",
        ),
        (
            "without windows",
            Vec::new(),
            vec![sale(None)],
            PATCH,
            "closed by sale until 2026-12-01T00:00:00Z",
        ),
        (
            "one after the other",
            Vec::new(),
            vec![sale(None), audit.clone()],
            PATCH,
            "closed by sale until 2026-12-03T23:00:00Z",
        ),
        (
            "and then the next window",
            nightly(),
            vec![sale(None), audit],
            PATCH,
            "closed by sale until 2026-12-03T23:00:00Z",
        ),
        (
            "one that ends outside a window",
            nightly(),
            vec![exclusion(
                "day",
                "2026-11-21T00:00:00Z",
                "2026-11-22T12:00:00Z",
                None,
            )],
            PATCH,
            "closed by day until 2026-11-22T22:00:00Z",
        ),
        (
            "one that is over",
            nightly(),
            vec![exclusion(
                "old",
                "2026-11-01T00:00:00Z",
                "2026-11-21T23:00:00Z",
                None,
            )],
            PATCH,
            "open until 2026-11-22T02:00:00Z",
        ),
        (
            "one that begins soon closes earlier",
            nightly(),
            vec![exclusion(
                "soon",
                "2026-11-22T01:00:00Z",
                "2026-11-22T05:00:00Z",
                None,
            )],
            PATCH,
            "open until 2026-11-22T01:00:00Z",
        ),
        (
            "security fixes do not pass by themselves",
            nightly(),
            vec![sale(None)],
            FIX,
            "closed by sale until 2026-12-01T00:00:00Z",
        ),
    ];
    for (what, windows, exclusions, work, expected) in table {
        let calendar = calendar(windows, exclusions);
        assert_eq!(say(&calendar.gate(work, now)), expected, "{what}");
    }
}

#[test]
fn security_fixes_pass_exclusions_when_allowed_but_never_windows() {
    let mut spec = upgrade(
        vec![window(&[], "22:00", "4h", None)],
        vec![exclusion(
            "sale",
            "2026-11-20T00:00:00Z",
            "2026-12-01T00:00:00Z",
            None,
        )],
    );
    spec.allow_security_fixes = Some(true);
    let calendar = read(&spec).unwrap();
    let inside = at("2026-11-21T23:00:00Z");
    let outside = at("2026-11-21T12:00:00Z");
    assert_eq!(
        say(&calendar.gate(FIX, inside)),
        "open until 2026-11-22T02:00:00Z"
    );
    assert_eq!(
        say(&calendar.gate(FIX, outside)),
        "closed until 2026-11-21T22:00:00Z"
    );
    assert_eq!(
        say(&calendar.gate(MINOR, inside)),
        "closed by sale until 2026-12-01T00:00:00Z"
    );
}

#[test]
fn what_has_started_goes_on_as_the_spec_says_when_the_window_closes() {
    let spec = |on_close| Upgrade {
        on_window_close: on_close,
        ..upgrade(vec![window(&[], "22:00", "4h", None)], Vec::new())
    };
    let inside = at("2026-11-21T23:00:00Z");
    let outside = at("2026-11-22T02:00:00Z");
    let until = Some(at("2026-11-22T22:00:00Z"));
    let by = Closure::Window;
    let table = [
        (
            None,
            Permit::FinishWave {
                until,
                by: by.clone(),
            },
        ),
        (
            Some(OnWindowClose::FinishWave),
            Permit::FinishWave {
                until,
                by: by.clone(),
            },
        ),
        (Some(OnWindowClose::FinishRollout), Permit::GoOn),
        (Some(OnWindowClose::PauseNow), Permit::Stop { until, by }),
    ];
    for (on_close, expected) in table {
        let calendar = read(&spec(on_close)).unwrap();
        assert_eq!(calendar.permit(MINOR, inside), Permit::GoOn, "{on_close:?}");
        assert_eq!(calendar.permit(MINOR, outside), expected, "{on_close:?}");
    }
}

#[test]
fn the_next_opening_is_one_that_is_still_to_come() {
    let nightly = calendar(vec![window(&[], "22:00", "4h", None)], Vec::new());
    let opening = Some(at("2026-11-22T22:00:00Z"));
    assert_eq!(nightly.next_opening(at("2026-11-22T12:00:00Z")), opening);
    assert_eq!(nightly.next_opening(at("2026-11-21T22:00:00Z")), opening);
    let always = calendar(vec![window(&[], "00:00", "24h", None)], Vec::new());
    assert_eq!(always.next_opening(at("2026-11-22T12:00:00Z")), None);
}

#[test]
fn an_exclusion_to_the_end_of_time_leaves_no_next_moment() {
    let calendar = calendar(
        vec![window(&[], "22:00", "4h", None)],
        vec![exclusion(
            "never",
            "2026-11-20T00:00:00Z",
            "9999-12-30T22:00:00Z",
            None,
        )],
    );
    let gate = calendar.gate(PATCH, at("2026-11-21T23:00:00Z"));
    assert_eq!(say(&gate), "closed by never for ever");
}
