//! Decisions as tables, and what holds for every input.

mod courses;
mod properties;
mod records;
mod rows;
mod texts;

use jiff::Timestamp;
use jiff::tz::TimeZoneDatabase;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;
use crate::api::v1alpha1::{
    ChannelEntry, Exclusion, ExclusionScope, FailedRelease, HistoryEntry, KubernetesRange,
    MaintenanceWindow, MeshRelease, ReleaseChannel, ReleaseFix, Upgrade, UpgradeMode, Withdrawn,
};
use crate::catalogue::Catalogue;
use crate::catalogue::fixtures::{
    at, carrying, following as channel, in_channel, object, pinned as pin, v, withdrawn,
};
use crate::window::Calendar;

/// A Saturday on which 1.6.0 is Rapid, 1.5.4 is Stable and Extended, and 1.4 has ended.
const NOW: &str = "2026-11-21T09:00:00Z";

/// No `spec.upgrade`.
const UNPINNED: Option<Upgrade> = None;
/// Not installed yet.
const NOTHING: Option<&str> = None;

/// The same with a window that opens at this time of every day for an hour, in UTC.
fn at_night(start: &str, upgrade: Upgrade) -> Upgrade {
    Upgrade {
        maintenance_windows: Some(vec![MaintenanceWindow {
            days: Vec::new(),
            start: start.to_owned(),
            duration: "1h".to_owned(),
            time_zone: None,
        }]),
        ..upgrade
    }
}

/// The same with an exclusion for the rest of the month.
fn frozen(scope: ExclusionScope, upgrade: Upgrade) -> Upgrade {
    Upgrade {
        exclusions: Some(vec![Exclusion {
            name: "sale".to_owned(),
            from: Time(at("2026-11-20T00:00:00Z")),
            to: Time(at("2026-12-01T00:00:00Z")),
            scope: Some(scope),
        }]),
        ..upgrade
    }
}

fn failed(version: &str, hash: &str) -> FailedRelease {
    FailedRelease {
        version: version.to_owned(),
        hash: hash.to_owned(),
        reason: "gate Nodes: node a: 3 of 40 connections failed".to_owned(),
        ..FailedRelease::default()
    }
}

fn moved(from: &str, to: &str, result: &str) -> HistoryEntry {
    HistoryEntry {
        from: Some(from.to_owned()),
        to: to.to_owned(),
        result: result.to_owned(),
        ..HistoryEntry::default()
    }
}

/// One situation and what comes of it.
#[derive(Clone, Debug)]
struct Case {
    what: &'static str,
    upgrade: Option<Upgrade>,
    running: Option<&'static str>,
    expected: &'static str,
    reached_by: Option<&'static str>,
    history: Vec<HistoryEntry>,
    failed: Vec<FailedRelease>,
    annotated: bool,
    template: Template<'static>,
    objects: Vec<MeshRelease>,
    kubernetes: &'static str,
    stage: Stage<'static>,
    now: &'static str,
}

fn case(
    what: &'static str,
    upgrade: impl Into<Option<Upgrade>>,
    running: impl Into<Option<&'static str>>,
    expected: &'static str,
) -> Case {
    Case {
        what,
        upgrade: upgrade.into(),
        running: running.into(),
        expected,
        reached_by: None,
        history: Vec::new(),
        failed: Vec::new(),
        annotated: false,
        template: Template::Same,
        objects: Vec::new(),
        kubernetes: "1.33",
        stage: Stage::Open,
        now: NOW,
    }
}

impl Case {
    /// The channel or pin by which it came to what runs.
    fn by(mut self, follows: &'static str) -> Self {
        self.reached_by = Some(follows);
        self
    }

    fn with(mut self, objects: impl IntoIterator<Item = MeshRelease>) -> Self {
        self.objects.extend(objects);
        self
    }

    fn after(mut self, history: impl IntoIterator<Item = HistoryEntry>) -> Self {
        self.history.extend(history);
        self
    }

    fn failed(mut self, version: &str, hash: &str) -> Self {
        self.failed.push(failed(version, hash));
        self
    }

    fn on(mut self, kubernetes: &'static str) -> Self {
        self.kubernetes = kubernetes;
        self
    }

    fn at(mut self, now: &'static str) -> Self {
        self.now = now;
        self
    }

    fn annotated(mut self) -> Self {
        self.annotated = true;
        self
    }

    fn held(mut self) -> Self {
        self.stage = Stage::Held { name: "first" };
        self
    }

    fn template(mut self, hash: &'static str, by: TemplateAuthor) -> Self {
        self.template = Template::Changed { hash, by };
        self
    }

    /// What `look` makes of the situation.
    fn judge<T>(&self, look: impl FnOnce(&Situation<'_>) -> T) -> T {
        let catalogue = Catalogue::overlaid(&self.objects);
        let calendar = Calendar::read(self.upgrade.as_ref(), &TimeZoneDatabase::from_env());
        look(&Situation {
            upgrade: self.upgrade.as_ref(),
            calendar: calendar.as_ref(),
            running: self.running.map(v),
            reached_by: self.reached_by,
            history: &self.history,
            failed: &self.failed,
            paused_by_annotation: self.annotated,
            template: self.template,
            catalogue: &catalogue,
            kubernetes: self.kubernetes.parse().unwrap(),
            stage: self.stage,
            now: at(self.now),
        })
    }

    fn decide(&self) -> Decision {
        self.judge(decide)
    }
}

/// A decision in few words.
fn say(decision: &Decision) -> String {
    let hops = |next: &Move| {
        let hops: Vec<String> = next.hops.iter().map(ToString::to_string).collect();
        hops.join(" ")
    };
    match decision {
        Decision::Move(next) => {
            let why = match next.why {
                Why::Install => "install",
                Why::Asked { .. } => "asked",
                Why::ChannelMoved(_) => "channel",
                Why::NewPatch => "patch",
                Why::Affected(_) => "affected",
                Why::Template(_) => "template",
            };
            format!("move {} by {}: {why}", hops(next), next.by.as_str())
        }
        Decision::Wait(Wait { next, until, hold }) => {
            let hold = match hold {
                Hold::Window => "window".to_owned(),
                Hold::Exclusion { name } => name.clone(),
                Hold::PausedBySpec => "pause".to_owned(),
                Hold::PausedByAnnotation => "resume".to_owned(),
                Hold::Stage { name } => format!("stage {name}"),
            };
            let until = until.map_or_else(|| "-".to_owned(), |until| until.to_string());
            format!("wait for {hold} until {until}: {}", hops(next))
        }
        Decision::Stay { rest, .. } => match rest {
            Rest::Current { .. } => "current".to_owned(),
            Rest::Affected {
                is_pinned: true, ..
            } => "pinned".to_owned(),
            Rest::Affected { .. } => "affected".to_owned(),
            Rest::Ahead { means, .. } => format!("ahead of {means}"),
            Rest::Failed { version, .. } => format!("failed {version}"),
            Rest::Refused(refusal) => format!("refused {}", refusal.reason()),
        },
    }
}
