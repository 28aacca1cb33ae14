//! Why windows and exclusions cannot be used.

use crate::api::conditions::Reason;

/// Why windows and exclusions cannot be used. Every message names the field and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No such time zone.
    #[error(
        "spec.upgrade.maintenanceWindows[{window}].timeZone: {zone:?} is no time zone of the IANA database; \
         write a name such as Europe/Berlin, or leave it out for UTC"
    )]
    UnknownZone {
        /// The window, from 0.
        window: usize,
        /// The name, cut to what is worth showing.
        zone: String,
    },
    /// The start is no time of day.
    #[error(
        "spec.upgrade.maintenanceWindows[{window}].start: {text:?} is no time of day such as 22:30"
    )]
    Start {
        /// The window, from 0.
        window: usize,
        /// The text, cut to what is worth showing.
        text: String,
    },
    /// The duration cannot be read.
    #[error(
        "spec.upgrade.maintenanceWindows[{window}].duration: {text:?} is no duration such as 4h or 90m"
    )]
    Duration {
        /// The window, from 0.
        window: usize,
        /// The text, cut to what is worth showing.
        text: String,
    },
    /// It would close before anything could start in it.
    #[error(
        "spec.upgrade.maintenanceWindows[{window}].duration: {text} is shorter than a minute, nothing would ever start in it; \
         write one minute or more"
    )]
    TooShort {
        /// The window, from 0.
        window: usize,
        /// The duration as written.
        text: String,
    },
    /// It would never close.
    #[error(
        "spec.upgrade.maintenanceWindows[{window}].duration: {text} is longer than a week, it would never close; \
         leave maintenanceWindows out to be always open"
    )]
    TooLong {
        /// The window, from 0.
        window: usize,
        /// The duration as written.
        text: String,
    },
    /// It ends before it begins.
    #[error(
        "spec.upgrade.exclusions: {name:?} ends before it begins; its from must be before its to"
    )]
    EmptyExclusion {
        /// Its name.
        name: String,
    },
}

impl Fault {
    /// The reason of condition Accepted.
    pub const fn reason(&self) -> Reason {
        Reason::InvalidSpec
    }
}
