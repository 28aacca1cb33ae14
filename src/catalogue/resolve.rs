//! What a member's `spec.upgrade` means today: one release, or why there is none.
//!
//! Pure: (spec, what runs, catalogue, Kubernetes version, now) -> answer. What a *running* member does with the answer
//! (stay, wait, move) is decided elsewhere; here an exact pin or the version that runs is never talked away.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::unresolved::{Notice, Unresolved};
use super::version::{Minor, Pin, Version};
use super::{Catalogue, Release};
use crate::api::v1alpha1::{ReleaseChannel, Upgrade, UpgradeMode};

/// What a spec resolves to.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolution {
    /// Who chooses the version.
    pub mode: UpgradeMode,
    /// The channel that is followed.
    pub channel: Option<ReleaseChannel>,
    /// The pin in effect: the spec's, or the line that runs or was chosen.
    pub pin: Option<Pin>,
    /// The release the spec means.
    pub release: Release,
    /// What somebody should know about it.
    pub notices: Vec<Notice>,
}

/// What `upgrade` means for a cluster of this Kubernetes version.
///
/// `running` is the version that runs, never one that was only asked for. Without a pin the first install takes the
/// line before the newest, and a running member keeps its line.
///
/// # Errors
/// [`Unresolved`] says what is wrong and what to do.
pub fn resolve(
    upgrade: Option<&Upgrade>,
    running: Option<Version>,
    catalogue: &Catalogue,
    kubernetes: Minor,
    now: Timestamp,
) -> Result<Resolution, Unresolved> {
    let question = Question {
        running,
        catalogue,
        kubernetes,
        now,
    };
    let mode = upgrade.map(Upgrade::effective_mode).unwrap_or_default();
    let channel = upgrade.and_then(Upgrade::effective_channel);
    let asked = match upgrade.and_then(|upgrade| upgrade.version.as_deref()) {
        Some(text) => Some(text.parse().map_err(Unresolved::InvalidPin)?),
        None => running.map(|running| Pin::Line(running.line())),
    };
    let (pin, release) = match (channel, asked) {
        (Some(channel), _) => (None, question.channel(channel)?),
        (None, Some(pin)) => (Some(pin), question.pin(pin)?),
        (None, None) => {
            let release = question.line_before_newest()?;
            (Some(Pin::Line(release.version.line())), release)
        }
    };
    Ok(Resolution {
        mode,
        channel,
        pin,
        release: release.clone(),
        notices: question.notices(release),
    })
}

/// The arguments of one resolution.
struct Question<'a> {
    running: Option<Version>,
    catalogue: &'a Catalogue,
    kubernetes: Minor,
    now: Timestamp,
}

impl<'a> Question<'a> {
    fn channel(&self, channel: ReleaseChannel) -> Result<&'a Release, Unresolved> {
        self.catalogue
            .in_channel(channel, self.kubernetes, self.now)
            .ok_or_else(|| Unresolved::NoReleaseInChannel {
                channel: channel.as_str(),
                kubernetes: self.kubernetes,
                fitting: self.fitting(),
            })
    }

    fn pin(&self, pin: Pin) -> Result<&'a Release, Unresolved> {
        match pin {
            Pin::Exact(version) => self.exact(version),
            Pin::Line(line) => self.line(line),
        }
    }

    fn exact(&self, version: Version) -> Result<&'a Release, Unresolved> {
        let runs = self.running == Some(version);
        let pin = Pin::Exact(version);
        let Some(release) = self.catalogue.get(version) else {
            return Err(if runs {
                Unresolved::RunningReleaseMissing { running: version }
            } else {
                self.unknown(pin)
            });
        };
        // What runs and is pinned stays: its faults become notices.
        if runs {
            Ok(release)
        } else {
            self.usable(pin, release)
        }
    }

    fn line(&self, line: Minor) -> Result<&'a Release, Unresolved> {
        let running = self.running.filter(|running| running.line() == line);
        let newest = self
            .catalogue
            .newest_of_line(line, self.kubernetes, self.now);
        // Patches follow upwards only: an entry that left the catalogue takes nobody back.
        if let Some(newest) =
            newest.filter(|newest| running.is_none_or(|running| newest.version >= running))
        {
            return Ok(newest);
        }
        if let Some(running) = running {
            let entry = self
                .catalogue
                .get(running)
                .ok_or(Unresolved::RunningReleaseMissing { running })?;
            // A withdrawn patch gives way to the newest that is left, even a lower one.
            return Ok(newest
                .filter(|_| entry.withdrawn.is_some())
                .unwrap_or(entry));
        }
        let pin = Pin::Line(line);
        match self
            .catalogue
            .newest_first()
            .find(|release| release.version.line() == line)
        {
            Some(release) => self.usable(pin, release),
            None => Err(self.unknown(pin)),
        }
    }

    /// The line before the newest, of those that fit and are still cared for; the only one, if there is just one.
    fn line_before_newest(&self) -> Result<&'a Release, Unresolved> {
        let cared_for = |release: &&Release| !release.is_past_end_of_life(self.now);
        let lines = |only_cared_for: bool| {
            self.catalogue
                .choices(self.kubernetes, self.now)
                .filter(|release| !only_cared_for || cared_for(release))
                .map(|release| release.version.line())
                .collect::<BTreeSet<_>>()
        };
        let mut candidates = lines(true);
        if candidates.is_empty() {
            candidates = lines(false);
        }
        let chosen = candidates.iter().rev().nth(1).or_else(|| candidates.last());
        chosen
            .and_then(|line| {
                self.catalogue
                    .newest_of_line(*line, self.kubernetes, self.now)
            })
            .ok_or(Unresolved::NothingFits {
                kubernetes: self.kubernetes,
            })
    }

    /// A release that nobody runs yet may be taken only without faults.
    fn usable(&self, pin: Pin, release: &'a Release) -> Result<&'a Release, Unresolved> {
        if let Some(reason) = &release.withdrawn {
            return Err(Unresolved::Withdrawn {
                pin,
                reason: reason.clone(),
            });
        }
        if !release.kubernetes.contains(self.kubernetes) {
            return Err(Unresolved::KubernetesOutOfRange {
                pin,
                range: release.kubernetes,
                kubernetes: self.kubernetes,
                fitting: self.fitting(),
            });
        }
        if !release.is_available(self.now) {
            return Err(Unresolved::NotReleased { pin });
        }
        Ok(release)
    }

    fn unknown(&self, pin: Pin) -> Unresolved {
        let known = match pin {
            Pin::Line(_) => self.fitting(),
            Pin::Exact(_) => self
                .catalogue
                .choices(self.kubernetes, self.now)
                .map(|release| release.version.to_string())
                .collect(),
        };
        let refused = self
            .catalogue
            .refused()
            .get(&pin.to_string())
            .map(ToString::to_string);
        Unresolved::UnknownVersion {
            pin,
            known,
            refused,
        }
    }

    /// Lines that fit this cluster, newest first.
    fn fitting(&self) -> Vec<String> {
        let lines: BTreeSet<Minor> = self
            .catalogue
            .choices(self.kubernetes, self.now)
            .map(|release| release.version.line())
            .collect();
        lines.iter().rev().map(ToString::to_string).collect()
    }

    fn notices(&self, release: &Release) -> Vec<Notice> {
        let mut notices = Vec::new();
        if let Some(reason) = &release.withdrawn {
            notices.push(Notice::Withdrawn {
                reason: reason.clone(),
            });
        }
        let open = self.catalogue.vulnerabilities(release.version);
        let fixed_in = self
            .catalogue
            .newest_of_line(release.version.line(), self.kubernetes, self.now)
            .map(|newest| newest.version)
            .filter(|newest| *newest > release.version);
        if let Some(fixed_in) = fixed_in.filter(|_| !open.is_empty()) {
            notices.push(Notice::Vulnerable {
                fixes: open.iter().map(|fix| fix.id.clone()).collect(),
                fixed_in,
            });
        }
        if let Some(day) = release
            .end_of_life
            .filter(|_| release.is_past_end_of_life(self.now))
        {
            notices.push(Notice::EndOfLife {
                day: day.to_string(),
            });
        }
        if !release.kubernetes.contains(self.kubernetes) {
            notices.push(Notice::KubernetesOutOfRange {
                range: release.kubernetes,
                kubernetes: self.kubernetes,
            });
        }
        notices
    }
}
