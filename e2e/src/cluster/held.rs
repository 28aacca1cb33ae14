//! A controller manager that does nothing for a while, as on a machine that has no time for it.

use nix::sys::signal::Signal;

use crate::controllers::Controller;
use crate::process::{self, Record};

use super::Cluster;

/// The controller manager, held until this is dropped. Longer than nodes may be silent, and it takes them for lost when it
/// goes on.
#[derive(Debug)]
#[must_use = "it goes on when this is dropped"]
pub struct Held(Record);

impl Drop for Held {
    fn drop(&mut self) {
        process::signal(&self.0, Signal::SIGCONT);
    }
}

impl Cluster {
    /// Holds the controller manager in the middle of what it does; `None` where it does not run.
    pub fn hold_controller_manager(&self) -> Option<Held> {
        let record = self.state.process(Controller::Manager.name())?;
        process::signal(record, Signal::SIGSTOP);
        Some(Held(record.clone()))
    }

    /// Whoever held it may have been killed.
    pub(super) fn release_controller_manager(&self) {
        if let Some(record) = self.state.process(Controller::Manager.name()) {
            process::signal(record, Signal::SIGCONT);
        }
    }
}
