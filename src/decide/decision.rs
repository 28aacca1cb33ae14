//! What comes out of a decision, and how it reads.

use std::fmt;

use jiff::Timestamp;

use super::refusal::Refusal;
use super::situation::TemplateAuthor;
use crate::api::conditions::Reason;
use crate::api::v1alpha1::ReleaseChannel;
use crate::catalogue::{Notice, Release, Version};
use crate::window::Closure;

/// What a member does next.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Nothing.
    Stay {
        /// Why.
        rest: Rest,
        /// What somebody should know about the release that the spec means.
        notices: Vec<Notice>,
    },
    /// A move is due and may not start yet.
    Wait(Wait),
    /// A move starts now.
    Move(Move),
}

/// Why nothing is due.
#[derive(Clone, Debug, PartialEq)]
pub enum Rest {
    /// What runs is what was asked for.
    Current {
        /// It.
        running: Version,
    },
    /// What runs is what was asked for, and it was withdrawn or is vulnerable.
    Affected {
        /// It.
        running: Version,
        /// An exact pin holds it; otherwise there is nothing better.
        is_pinned: bool,
        /// What is wrong with it.
        notice: Notice,
    },
    /// The channel or line means less than what runs; nobody asked to go back.
    Ahead {
        /// What runs.
        running: Version,
        /// What the spec means.
        means: Version,
        /// The channel or pin.
        follows: String,
    },
    /// The next hop was tried here and taken back.
    Failed {
        /// The hop.
        version: Version,
        /// Where it would lead.
        goal: Version,
        /// Why it was taken back.
        reason: String,
    },
    /// What was asked for is not done.
    Refused(Refusal),
}

/// A move that is due and may not start yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Wait {
    /// The move.
    pub next: Move,
    /// When it may start; `None` when no clock tells.
    pub until: Option<Timestamp>,
    /// What it waits for.
    pub hold: Hold,
}

/// What a move waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The next maintenance window.
    Window,
    /// The end of an exclusion, and then a window.
    Exclusion {
        /// Its name.
        name: String,
    },
    /// `spec.upgrade.paused`.
    PausedBySpec,
    /// `applink pause`.
    PausedByAnnotation,
    /// An earlier stage of the network.
    Stage {
        /// Its name.
        name: String,
    },
}

/// One rollout, and those that follow it.
#[derive(Clone, Debug, PartialEq)]
pub struct Move {
    /// The release of this rollout.
    pub to: Box<Release>,
    /// Where it ends.
    pub goal: Version,
    /// All hops from here to the goal, `to` first.
    pub hops: Vec<Version>,
    /// Why.
    pub why: Why,
    /// Who started it.
    pub by: Initiator,
    /// Listed vulnerabilities that this hop fixes.
    pub fixes: Vec<String>,
    /// When the time to start ends; `None` when it does not within a week, or when somebody asked for the move.
    pub closes: Option<Timestamp>,
}

/// Why a member moves.
#[derive(Clone, Debug, PartialEq)]
pub enum Why {
    /// Nothing runs yet.
    Install,
    /// Somebody changed the channel, the pin or the mode.
    Asked {
        /// The channel or pin.
        follows: String,
    },
    /// The channel has come to another release.
    ChannelMoved(ReleaseChannel),
    /// The line that is followed has a newer patch.
    NewPatch,
    /// What runs was withdrawn or is vulnerable.
    Affected(Notice),
    /// The per-node template changed at the same version.
    Template(TemplateAuthor),
}

/// Who started a move: what `initiatedBy` says in status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initiator {
    /// The spec's owner.
    Spec,
    /// The channel.
    Channel,
    /// The operator, by itself: a patch of the line that is followed, or a new operator's templates.
    Operator,
}

impl Decision {
    pub(super) const fn stay(rest: Rest, notices: Vec<Notice>) -> Self {
        Self::Stay { rest, notices }
    }

    pub(super) const fn wait(next: Move, until: Option<Timestamp>, hold: Hold) -> Self {
        Self::Wait(Wait { next, until, hold })
    }

    /// The move that is due, whether it may start or not.
    pub const fn due(&self) -> Option<&Move> {
        match self {
            Self::Move(next) | Self::Wait(Wait { next, .. }) => Some(next),
            Self::Stay { .. } => None,
        }
    }

    /// The reason of condition `UpToDate`, and whether it is True.
    pub const fn up_to_date(&self) -> (bool, Reason) {
        match self {
            Self::Stay { rest, .. } => rest.up_to_date(),
            Self::Wait(wait) => (false, wait.hold.reason()),
            Self::Move(_) => (false, Reason::Progressing),
        }
    }
}

impl Rest {
    const fn up_to_date(&self) -> (bool, Reason) {
        match self {
            Self::Current { .. } | Self::Ahead { .. } => (true, Reason::Current),
            Self::Affected { is_pinned, .. } => {
                if *is_pinned {
                    (false, Reason::PinnedToAffectedRelease)
                } else {
                    (true, Reason::Current)
                }
            }
            Self::Failed { .. } => (false, Reason::ReleaseFailed),
            Self::Refused(_) => (false, Reason::NotAccepted),
        }
    }
}

impl Hold {
    /// The reason of condition `UpToDate` while it holds.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Window => Reason::WaitingForWindow,
            Self::Exclusion { .. } => Reason::Excluded,
            Self::PausedBySpec | Self::PausedByAnnotation => Reason::Paused,
            Self::Stage { .. } => Reason::WaitingForStage,
        }
    }
}

impl Initiator {
    /// The one whose word in status this is.
    pub(super) fn named(word: &str) -> Option<Self> {
        [Self::Spec, Self::Channel, Self::Operator]
            .into_iter()
            .find(|one| one.as_str() == word)
    }

    /// The word in status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Spec => "Spec",
            Self::Channel => "Channel",
            Self::Operator => "Operator",
        }
    }
}

impl From<Closure> for Hold {
    fn from(closure: Closure) -> Self {
        match closure {
            Closure::Window => Self::Window,
            Closure::Exclusion { name } => Self::Exclusion { name },
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stay { rest, .. } => rest.fmt(f),
            Self::Wait(wait) => wait.fmt(f),
            Self::Move(next) => write!(f, "{next} now"),
        }
    }
}

impl fmt::Display for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Current { running } => write!(f, "{running} runs"),
            Self::Affected {
                running,
                is_pinned: true,
                notice,
            } => write!(
                f,
                "{running} is pinned and runs, and {notice}; pin another version"
            ),
            Self::Affected {
                running, notice, ..
            } => write!(
                f,
                "{running} runs, and {notice}; no release that can be taken here is better"
            ),
            Self::Ahead {
                running,
                means,
                follows,
            } => write!(
                f,
                "{running} runs; {follows} means {means} now, and a member goes back only when somebody asks for it"
            ),
            Self::Failed {
                version,
                goal,
                reason,
            } => {
                write!(f, "{version} failed here and was taken back: {reason}; ")?;
                if goal != version {
                    write!(f, "it is on the way to {goal}; ")?;
                }
                f.write_str(
                    "it is not tried again before the version or channel changes, or somebody asks: applink retry",
                )
            }
            Self::Refused(refusal) => refusal.fmt(f),
        }
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} waits for {}", self.next, self.hold)?;
        match (&self.hold, self.until) {
            (Hold::Window, Some(until)) => write!(f, ", which opens {until}"),
            (Hold::Exclusion { .. }, Some(until)) => write!(f, "; it may start {until}"),
            (Hold::Window | Hold::Exclusion { .. }, None) => {
                f.write_str("; there is no such moment: change the windows or exclusions")
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Window => f.write_str("the next maintenance window"),
            Self::Exclusion { name } => write!(f, "the end of exclusion {name}"),
            Self::PausedBySpec => f.write_str("spec.upgrade.paused to be taken away"),
            Self::PausedByAnnotation => f.write_str("applink resume"),
            Self::Stage { name } => write!(f, "stage {name} of its network"),
        }
    }
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Why::Template(_) = self.why {
            return write!(f, "the rollout of {}", self.why);
        }
        write!(f, "the move to {} ({})", self.to.version, self.why)?;
        if self.hops.len() > 1 {
            write!(f, ", 1 of {} hops to {}", self.hops.len(), self.goal)?;
        }
        Ok(())
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Install => f.write_str("first install"),
            Self::Asked { follows } => write!(f, "the spec asks for {follows}"),
            Self::ChannelMoved(channel) => write!(f, "channel {} has moved", channel.as_str()),
            Self::NewPatch => f.write_str("a newer patch"),
            Self::Affected(notice) => write!(f, "of what runs: {notice}"),
            Self::Template(TemplateAuthor::Spec) => f.write_str("the changed per-node settings"),
            Self::Template(TemplateAuthor::Release) => {
                f.write_str("the changed images of its MeshRelease")
            }
            Self::Template(TemplateAuthor::Operator) => {
                f.write_str("the new operator's per-node template")
            }
        }
    }
}
