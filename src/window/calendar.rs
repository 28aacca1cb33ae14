//! All windows and exclusions of a member together.

use jiff::tz::TimeZoneDatabase;
use jiff::{SignedDuration, Timestamp};

use super::exclusion::Exclusion;
use super::fault::Fault;
use super::recurrence::Window;
use crate::api::v1alpha1::{OnWindowClose, Upgrade};

/// Open without a break for longer than this counts as always open.
const ALWAYS: SignedDuration = SignedDuration::from_hours(7 * 24);

/// When automatic work may start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Calendar {
    /// None: always open.
    windows: Vec<Window>,
    exclusions: Vec<Exclusion>,
    security_fixes_pass: bool,
    on_close: OnWindowClose,
}

/// What is to be started, as far as a calendar cares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// It changes the minor version.
    pub is_minor: bool,
    /// It fixes a listed vulnerability.
    pub fixes: bool,
}

/// Whether work may start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gate {
    /// It may.
    Open {
        /// When that ends; `None` when it does not within a week.
        closes: Option<Timestamp>,
    },
    /// It may not.
    Closed {
        /// When it may; `None` when there is no such moment.
        until: Option<Timestamp>,
        /// What holds it back now.
        by: Closure,
    },
}

/// What holds work back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closure {
    /// No window is open.
    Window,
    /// An exclusion holds.
    Exclusion {
        /// Its name.
        name: String,
    },
}

/// How far work that has started may go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permit {
    /// It goes on.
    GoOn,
    /// What is in flight is finished, nothing new is begun.
    FinishWave {
        /// When it may go on; `None` when there is no such moment.
        until: Option<Timestamp>,
        /// What holds it back.
        by: Closure,
    },
    /// It stops at the next safe point.
    Stop {
        /// When it may go on; `None` when there is no such moment.
        until: Option<Timestamp>,
        /// What holds it back.
        by: Closure,
    },
}

impl Calendar {
    /// What a spec says; without windows it is always open.
    ///
    /// # Errors
    /// [`Fault`] names the field and what to write instead.
    pub fn read(upgrade: Option<&Upgrade>, zones: &TimeZoneDatabase) -> Result<Self, Fault> {
        let Some(upgrade) = upgrade else {
            return Ok(Self::default());
        };
        let windows = upgrade.maintenance_windows.iter().flatten().enumerate();
        let exclusions = upgrade.exclusions.iter().flatten();
        Ok(Self {
            windows: windows
                .map(|(number, window)| Window::read(number, window, zones))
                .collect::<Result<_, _>>()?,
            exclusions: exclusions.map(Exclusion::read).collect::<Result<_, _>>()?,
            security_fixes_pass: upgrade.allow_security_fixes.unwrap_or(false),
            on_close: upgrade.on_window_close.unwrap_or_default(),
        })
    }

    /// Whether work may start now; else what holds it back, and until when.
    pub fn gate(&self, work: Work, now: Timestamp) -> Gate {
        match self.closure(work, now) {
            None => Gate::Open {
                closes: self.closes(work, now),
            },
            Some(by) => Gate::Closed {
                until: self.opens(work, now),
                by,
            },
        }
    }

    /// How far work that has started may go on now.
    pub fn permit(&self, work: Work, now: Timestamp) -> Permit {
        match (self.gate(work, now), self.on_close) {
            (Gate::Open { .. }, _) | (_, OnWindowClose::FinishRollout) => Permit::GoOn,
            (Gate::Closed { until, by }, OnWindowClose::FinishWave) => {
                Permit::FinishWave { until, by }
            }
            (Gate::Closed { until, by }, OnWindowClose::PauseNow) => Permit::Stop { until, by },
        }
    }

    /// The next moment after now at which a window opens that is not open already; `None` without windows, or when they
    /// leave no gap within a week.
    pub fn next_opening(&self, now: Timestamp) -> Option<Timestamp> {
        let from = if self.is_open(now) {
            self.window_closes(now)?
        } else {
            now
        };
        self.window_opens(from)
    }

    fn holding(&self, work: Work, at: Timestamp) -> impl Iterator<Item = &Exclusion> {
        self.concerning(work)
            .filter(move |exclusion| exclusion.holds(at))
    }

    fn concerning(&self, work: Work) -> impl Iterator<Item = &Exclusion> {
        let passes = work.fixes && self.security_fixes_pass;
        self.exclusions
            .iter()
            .filter(move |exclusion| !passes && exclusion.concerns(work))
    }

    fn closure(&self, work: Work, at: Timestamp) -> Option<Closure> {
        let last = self.holding(work, at).max_by_key(|exclusion| exclusion.to);
        if let Some(exclusion) = last {
            return Some(Closure::Exclusion {
                name: exclusion.name.clone(),
            });
        }
        (!self.is_open(at)).then_some(Closure::Window)
    }

    /// The first moment from now on at which work may start.
    fn opens(&self, work: Work, now: Timestamp) -> Option<Timestamp> {
        let mut at = now;
        // Each round passes an exclusion for good, or ends in an open window.
        for _ in 0..=2 * self.exclusions.len() + 2 {
            if let Some(end) = self.holding(work, at).map(|exclusion| exclusion.to).max() {
                at = end;
            } else if self.is_open(at) {
                return Some(at);
            } else {
                at = self.window_opens(at)?;
            }
        }
        None
    }

    /// The first moment after now at which work may not start any more.
    fn closes(&self, work: Work, now: Timestamp) -> Option<Timestamp> {
        let excluded = self
            .concerning(work)
            .map(|exclusion| exclusion.from)
            .filter(|from| *from > now)
            .min();
        let week = now.checked_add(ALWAYS).ok();
        let shut = self.window_closes(now);
        [excluded, shut]
            .into_iter()
            .flatten()
            .min()
            .filter(|closes| week.is_none_or(|week| *closes <= week))
    }

    /// Whether a window is open, whatever is excluded.
    fn is_open(&self, at: Timestamp) -> bool {
        self.windows.is_empty()
            || self
                .windows
                .iter()
                .any(|window| window.spans(at).any(|span| span.from <= at))
    }

    /// When the windows that are open close, with those that open in time; `None` when that is not within a week.
    fn window_closes(&self, now: Timestamp) -> Option<Timestamp> {
        let week = now.checked_add(ALWAYS).ok()?;
        let mut spans: Vec<_> = self
            .windows
            .iter()
            .flat_map(|window| window.spans(now))
            .collect();
        spans.sort_unstable();
        let mut end = now;
        for span in spans.iter().take_while(|span| span.from <= week) {
            if span.from <= end {
                end = end.max(span.to);
            }
        }
        (end > now && end <= week).then_some(end)
    }

    /// The first opening after a moment at which no window is open.
    fn window_opens(&self, at: Timestamp) -> Option<Timestamp> {
        self.windows
            .iter()
            .filter_map(|window| {
                window
                    .spans(at)
                    .map(|span| span.from)
                    .find(|from| *from > at)
            })
            .min()
    }
}
