//! Questions to running components, and their answers.
//!
//! A question carries the identity of who is asked, so an answer never outlives the pod that gave it.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

/// A question to a running component.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// Does istiod take TLS for xDS with a certificate of our CA, and does it sign?
    ControlPlane {
        /// Name of the pod asked.
        pod: String,
        /// Its uid.
        uid: String,
    },
    /// Does the proxy serve every enrolled pod of its node?
    Proxy {
        /// The node.
        node: String,
        /// Name of the proxy's pod.
        pod: String,
        /// Its uid.
        uid: String,
        /// Uid of the network agent's pod beside it.
        agent: String,
    },
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ControlPlane { pod, .. } | Self::Proxy { pod, .. } => write!(f, "Pod {pod}"),
        }
    }
}

/// What an answer shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// It is as it should be.
    pub good: bool,
    /// What was seen, with numbers.
    pub text: String,
}

/// An answer, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// When.
    pub at: Timestamp,
    /// What was seen; an error text when nobody answered.
    pub seen: Result<Evidence, String>,
    /// How often in a row the answer was not a good one.
    pub failures: u32,
}

impl Answer {
    /// It is as it should be.
    pub fn is_good(&self) -> bool {
        self.seen.as_ref().is_ok_and(|seen| seen.good)
    }

    /// What to tell people.
    pub fn text(&self) -> &str {
        match &self.seen {
            Ok(seen) => &seen.text,
            Err(error) => error,
        }
    }

    /// When to ask again: after 0.25, 0.5, 1, 2 and then every 4 seconds.
    pub fn ask_again(&self) -> Timestamp {
        let millis = 250_i64 << self.failures.saturating_sub(1).min(4);
        self.at
            .checked_add(jiff::SignedDuration::from_millis(millis))
            .unwrap_or(self.at)
    }
}

/// Answers by question.
pub type Answers = BTreeMap<Question, Answer>;
