//! A clock that is walked minute by minute, as slow and simple as the definition of a window, and the calendar beside it.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, ToSpan};
use proptest::prelude::*;

use super::*;

const MINUTE: SignedDuration = SignedDuration::from_mins(1);
const DAYS: [Day; 7] = [
    Day::Monday,
    Day::Tuesday,
    Day::Wednesday,
    Day::Thursday,
    Day::Friday,
    Day::Saturday,
    Day::Sunday,
];
/// Clocks that change by an hour, by half an hour, at midnight, on the southern half, during Ramadan, or never.
const ZONES: [&str; 11] = [
    "Europe/Berlin",
    "America/New_York",
    "America/Havana",
    "America/Santiago",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Pacific/Chatham",
    "UTC",
];

/// One window of the oracle: listed days (Monday first), start, length in minutes, zone.
struct Naive {
    days: [bool; 7],
    start: jiff::civil::Time,
    minutes: i64,
    zone: TimeZone,
}

impl Naive {
    fn of(window: &MaintenanceWindow) -> Self {
        let minutes: i64 = window.duration.trim_end_matches('m').parse().unwrap();
        Self {
            days: DAYS.map(|day| window.days.is_empty() || window.days.contains(&day)),
            start: format!("{}:00", window.start).parse().unwrap(),
            minutes,
            zone: TimeZone::get(window.time_zone.as_deref().unwrap()).unwrap(),
        }
    }

    /// For each minute of a walk: whether the window is open. The walk begins ten days early.
    fn walk(&self, from: Timestamp, minutes: usize) -> Vec<bool> {
        let early = 10 * 24 * 60;
        let mut open = vec![false; minutes];
        let mut at = from - SignedDuration::from_mins(early);
        let mut highest: DateTime = self.zone.to_datetime(at - MINUTE);
        let mut open_for = 0;
        for minute in -early..i64::try_from(minutes).unwrap() {
            let local = self.zone.to_datetime(at);
            open_for -= 1;
            // The clock has never shown a time this late: which starts did it reach or jump over?
            if local > highest {
                let mut day = highest.date();
                while day <= local.date() {
                    let start = day.to_datetime(self.start);
                    let listed =
                        self.days[usize::try_from(day.weekday().to_monday_zero_offset()).unwrap()];
                    if listed && highest < start && start <= local {
                        open_for = open_for.max(self.minutes);
                    }
                    day = day.checked_add(1.day()).unwrap();
                }
                highest = local;
            }
            if let Ok(minute) = usize::try_from(minute) {
                open[minute] = open_for > 0;
            }
            at += MINUTE;
        }
        open
    }
}

fn windows() -> impl Strategy<Value = Vec<MaintenanceWindow>> {
    let one = (
        proptest::collection::vec(0usize..7, 0..4),
        0u8..24,
        0u8..60,
        prop_oneof![1i64..300, 300i64..3000, Just(10_080)],
        0usize..ZONES.len(),
    )
        .prop_map(|(days, hour, minute, length, zone)| {
            let days: Vec<Day> = days.into_iter().map(|day| DAYS[day]).collect();
            window(
                &days,
                &format!("{hour:02}:{minute:02}"),
                &format!("{length}m"),
                Some(ZONES[zone]),
            )
        });
    // The clocks change in the night: most windows are there.
    let night = (0u8..4, 0u8..60, 1i64..300, 0usize..ZONES.len()).prop_map(
        |(hour, minute, length, zone)| {
            window(
                &[],
                &format!("{hour:02}:{minute:02}"),
                &format!("{length}m"),
                Some(ZONES[zone]),
            )
        },
    );
    proptest::collection::vec(prop_oneof![one, night], 1..4)
}

/// The calendar's answer at a minute about some work, against the minutes that the oracle has walked for it.
fn compare(
    calendar: &Calendar,
    (work, allowed): (Work, &[bool]),
    on_close: OnWindowClose,
    from: Timestamp,
    minute: usize,
) -> Result<(), TestCaseError> {
    let week = 7 * 24 * 60;
    let now = from + SignedDuration::from_mins(i64::try_from(minute).unwrap());
    let ahead = |wanted: bool| {
        allowed[minute..]
            .iter()
            .position(|open| *open == wanted)
            .map(|minutes| now + SignedDuration::from_mins(i64::try_from(minutes).unwrap()))
    };
    let gate = calendar.gate(work, now);
    // What has begun goes on while it could begin, and as long as it likes where it is to be finished.
    let expected = match (&gate, on_close) {
        (Gate::Open { .. }, _) | (_, OnWindowClose::FinishRollout) => Permit::GoOn,
        (Gate::Closed { until, by }, OnWindowClose::FinishWave) => Permit::FinishWave {
            until: *until,
            by: by.clone(),
        },
        (Gate::Closed { until, by }, OnWindowClose::PauseNow) => Permit::Stop {
            until: *until,
            by: by.clone(),
        },
    };
    prop_assert_eq!(calendar.permit(work, now), expected, "permit at {}", now);
    match gate {
        Gate::Open { closes } => {
            prop_assert!(allowed[minute], "open at {now}, the oracle is closed");
            if minute + week < allowed.len() {
                let limit = now + SignedDuration::from_mins(i64::try_from(week).unwrap());
                let expected = ahead(false).filter(|closes| *closes <= limit);
                prop_assert_eq!(closes, expected, "closes, seen at {}", now);
            }
        }
        Gate::Closed { until, .. } => {
            prop_assert!(!allowed[minute], "closed at {now}, the oracle is open");
            if let Some(expected) = ahead(true) {
                prop_assert_eq!(until, Some(expected), "opens, seen at {}", now);
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn a_year_of_clock_agrees_with_the_naive_oracle(
        windows in windows(),
        year in 2015i16..2032,
        exclusions in proptest::collection::vec((0i64..520_000, 1i64..40_000, any::<bool>()), 0..4),
        probes in proptest::collection::vec(0usize..525_600, 200),
        on_close in prop_oneof![Just(OnWindowClose::FinishWave), Just(OnWindowClose::FinishRollout), Just(OnWindowClose::PauseNow)],
    ) {
        let minutes = 525_600;
        let from = jiff::civil::date(year, 1, 1).at(0, 0, 0, 0).to_zoned(TimeZone::UTC).unwrap().timestamp();
        let moment = |minute: i64| from + SignedDuration::from_mins(minute);
        let excluded: Vec<ExclusionSpec> = exclusions.iter().map(|(start, length, minor)| ExclusionSpec {
            name: "x".to_owned(),
            from: Time(moment(*start)),
            to: Time(moment(start + length)),
            scope: minor.then_some(ExclusionScope::NoMinorUpgrades),
        }).collect();
        let mut allowed = vec![false; minutes];
        for window in &windows {
            for (all, one) in allowed.iter_mut().zip(Naive::of(window).walk(from, minutes)) {
                *all |= one;
            }
        }
        // An exclusion of minors concerns no patch.
        let mut patches = allowed.clone();
        for (start, length, only_minors) in &exclusions {
            let end = usize::try_from(start + length).unwrap().min(minutes);
            let excluded = usize::try_from(*start).unwrap()..end;
            allowed[excluded.clone()].fill(false);
            if !only_minors {
                patches[excluded].fill(false);
            }
        }
        let spec = Upgrade { on_window_close: Some(on_close), ..upgrade(windows, excluded) };
        let calendar = read(&spec).unwrap();
        for (work, allowed) in [(MINOR, &allowed), (PATCH, &patches)] {
            // Wherever the oracle changes its mind, just before that, and anywhere.
            let edges = (1..minutes).filter(|minute| allowed[*minute] != allowed[minute - 1]);
            let mut seen: Vec<usize> = edges.flat_map(|edge| [edge - 1, edge]).collect();
            seen.extend(&probes);
            for minute in seen {
                compare(&calendar, (work, allowed), on_close, from, minute)?;
            }
        }
    }

    #[test]
    fn any_text_is_read_without_panic_and_what_is_taken_can_be_asked(
        start in "[0-9:]{0,6}", duration in "[0-9hms]{0,8}", zone in "[A-Za-z_/]{0,12}", second in -377_705_023_201i64..253_402_207_200,
    ) {
        let spec = upgrade(vec![window(&[], &start, &duration, Some(&zone))], Vec::new());
        let now = Timestamp::from_second(second).unwrap();
        if let Ok(calendar) = read(&spec) {
            let _ = calendar.gate(MINOR, now);
            let _ = calendar.next_opening(now);
        }
    }
}
