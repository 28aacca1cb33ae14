//! What status says about a decision.

use jiff::Timestamp;

use super::decision::{Decision, Hold, Wait};
use super::situation::Situation;
use crate::api::v1alpha1::AvailableUpgrade;

/// What status says about a decision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// `upgrade.waitingFor`: why a move has not started.
    pub waiting_for: Option<String>,
    /// `upgrade.nextWindow`: when the next maintenance window opens, also when nothing waits for it.
    pub next_window: Option<Timestamp>,
    /// `availableUpgrades`.
    pub available_upgrades: Vec<AvailableUpgrade>,
    /// When the decision has to be made anew although nothing changes.
    pub again_at: Option<Timestamp>,
}

/// What status says about a decision.
pub fn report(situation: &Situation<'_>, decision: &Decision) -> Report {
    let next_window = situation
        .calendar
        .ok()
        .and_then(|calendar| calendar.next_opening(situation.now));
    let available_upgrades = situation
        .running
        .map(|running| {
            situation
                .catalogue
                .available_upgrades(running, situation.kubernetes, situation.now)
        })
        .unwrap_or_default();
    let (waiting_for, until) = match decision {
        Decision::Wait(wait) => (Some(wait.to_string()), wait.until),
        Decision::Stay { .. } | Decision::Move(_) => (None, None),
    };
    // A channel may come to a release by the clock alone.
    let catalogue = situation.catalogue.next_change(situation.now);
    let again_at = [until, catalogue].into_iter().flatten().min();
    Report {
        waiting_for,
        next_window: match decision {
            // The end of an exclusion may be far behind the next window.
            Decision::Wait(Wait {
                hold: Hold::Window,
                until: Some(until),
                ..
            }) => Some(*until),
            _ => next_window,
        },
        available_upgrades,
        again_at,
    }
}
