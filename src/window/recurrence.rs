//! One window that comes back every week.

use jiff::civil::{Date, Time};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp, ToSpan};

use super::fault::Fault;
use crate::api::duration::duration;
use crate::api::v1alpha1::{Day, MaintenanceWindow};

/// The shortest window: nothing starts in less.
const SHORTEST: SignedDuration = SignedDuration::from_mins(1);
/// The longest window: it comes back after a week.
const LONGEST: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Local days on both sides of a search: a day that the zone skips, and a clock that is put back.
const SLACK_DAYS: i64 = 2;

/// A window that opens on some days of each week.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Monday first.
    days: [bool; 7],
    start: Time,
    length: SignedDuration,
    zone: TimeZone,
}

/// A stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The first moment.
    pub from: Timestamp,
    /// The moment after the last.
    pub to: Timestamp,
}

impl Window {
    /// The window that a spec describes; `number` is its place in the list, from 0.
    ///
    /// # Errors
    /// [`Fault`] names the field and what to write instead.
    pub fn read(
        number: usize,
        window: &MaintenanceWindow,
        zones: &TimeZoneDatabase,
    ) -> Result<Self, Fault> {
        let short = |text: &str| text.chars().take(64).collect::<String>();
        let start = time_of_day(&window.start).ok_or_else(|| Fault::Start {
            window: number,
            text: short(&window.start),
        })?;
        let text = short(&window.duration);
        let Some(length) = duration(&window.duration) else {
            return Err(Fault::Duration {
                window: number,
                text,
            });
        };
        if length < SHORTEST {
            return Err(Fault::TooShort {
                window: number,
                text,
            });
        }
        if length > LONGEST {
            return Err(Fault::TooLong {
                window: number,
                text,
            });
        }
        let zone = match window.time_zone.as_deref() {
            // Needs no database.
            None | Some("UTC") => TimeZone::UTC,
            Some(name) => zones
                .get(name)
                .ok()
                .filter(|zone| !zone.is_unknown())
                .ok_or_else(|| Fault::UnknownZone {
                    window: number,
                    zone: short(name),
                })?,
        };
        let mut days = [window.days.is_empty(); 7];
        for day in &window.days {
            days[place(*day)] = true;
        }
        Ok(Self {
            days,
            start,
            length,
            zone,
        })
    }

    /// The stretches in which it is open around a moment, in order: all that have not ended by then and begin within the
    /// next week, the next one in any case.
    pub fn spans(&self, now: Timestamp) -> impl Iterator<Item = Span> + '_ {
        let today = self.zone.to_datetime(now).date();
        let back = self.length.as_hours() / 24 + 1 + SLACK_DAYS;
        (-back..=7 + SLACK_DAYS)
            .filter_map(move |days| today.checked_add(days.days()).ok())
            .filter(|day| self.is_listed(*day))
            .filter_map(|day| self.on(day))
            .filter(move |span| now < span.to)
    }

    fn is_listed(&self, day: Date) -> bool {
        usize::try_from(day.weekday().to_monday_zero_offset())
            .ok()
            .and_then(|place| self.days.get(place))
            .is_some_and(|listed| *listed)
    }

    /// When it is open if it opens on a local day; `None` at the ends of time.
    fn on(&self, day: Date) -> Option<Span> {
        let local = day.to_datetime(self.start);
        let ambiguous = self.zone.to_ambiguous_timestamp(local);
        let from = match ambiguous.offset() {
            // The clock jumps over the start: the window opens with the jump.
            AmbiguousOffset::Gap { after, .. } => {
                let before_jump = after.to_timestamp(local).ok()?;
                self.zone.following(before_jump).next()?.timestamp()
            }
            // The clock shows the start once, or twice: the first time counts.
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => {
                ambiguous.earlier().ok()?
            }
        };
        let to = from.checked_add(self.length).ok()?;
        Some(Span { from, to })
    }
}

const fn place(day: Day) -> usize {
    match day {
        Day::Monday => 0,
        Day::Tuesday => 1,
        Day::Wednesday => 2,
        Day::Thursday => 3,
        Day::Friday => 4,
        Day::Saturday => 5,
        Day::Sunday => 6,
    }
}

/// `22:30`, nothing else.
fn time_of_day(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str| {
        (text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| text.parse::<i8>().ok())
            .flatten()
    };
    Time::new(number(hour)?, number(minute)?, 0, 0).ok()
}
