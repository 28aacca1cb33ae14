//! One pass over everything: observe, decide, act, report. Status is written at the end of every pass, also of a failed
//! one, and only when it changed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use kube::Client;
use tokio::task::JoinSet;
use tracing::warn;

use super::asked::Asked;
use super::backoff::Backoff;
use super::rendered::Rendered;
use super::report::Reporter;
use super::rights::Rights;
use super::signals::Signals;
use super::world::World;
use super::{gauge, survey};
use crate::api::v1alpha1::MeshMember;
use crate::catalogue::Catalogue;
use crate::facts::{Accepted, Facts, Gaps, Membership, ObjectKey, membership};
use crate::leave;
use crate::metrics::{Gauges, Metrics};
use crate::plan::Bundle;
use crate::status::Outcome;

/// After a failed pass over something else than a member.
pub const SOON: SignedDuration = SignedDuration::from_secs(5);

/// The operator at work.
pub struct Operator {
    pub client: Client,
    pub world: Arc<World>,
    pub signals: Arc<dyn Signals>,
    pub metrics: Metrics,
    pub crds: PathBuf,
    pub asked: Asked,
    pub accepted: BTreeMap<ObjectKey, Accepted>,
    pub bundle: Option<Bundle>,
    pub tasks: JoinSet<()>,
    pub reporter: Reporter,
    pub targets: BTreeMap<String, Rendered>,
    pub leaving: BTreeMap<String, leave::Progress>,
    /// Nodes that lack a pod, and since when.
    pub absences: survey::Absences,
    /// Pods that marked nodes ask for and that are not there, and since when.
    gaps: Gaps,
    /// What the operator may not do.
    pub rights: Rights,
    /// Pods of the probe that the API server did not take: when, and why.
    pub refused: BTreeMap<String, (Timestamp, String)>,
    /// Nodes of a rollout that the probe does not prove: each is told once.
    pub unproved: BTreeSet<String>,
    /// Something was done since memory was given back.
    pub worked: bool,
    backoff: Backoff,
    /// What passes found that failed: it is shown until they are made again.
    failed: BTreeMap<String, Outcome>,
}

/// What a pass over one member found.
pub struct Seen<'a> {
    pub member: &'a MeshMember,
    pub name: String,
    pub facts: &'a Facts,
    pub membership: &'a Membership,
    pub catalogue: &'a Catalogue,
    pub members: &'a [MeshMember],
    pub now: Timestamp,
}

impl Operator {
    /// An operator that has done nothing yet.
    pub fn new(
        client: Client,
        world: World,
        signals: Arc<dyn Signals>,
        metrics: Metrics,
        crds: PathBuf,
        reporter: Reporter,
    ) -> Self {
        Self {
            client,
            world: Arc::new(world),
            signals,
            metrics,
            crds,
            asked: Asked::default(),
            accepted: BTreeMap::new(),
            bundle: None,
            tasks: JoinSet::new(),
            reporter,
            targets: BTreeMap::new(),
            leaving: BTreeMap::new(),
            absences: survey::Absences::default(),
            gaps: Gaps::default(),
            rights: Rights::default(),
            refused: BTreeMap::new(),
            unproved: BTreeSet::new(),
            worked: false,
            backoff: Backoff::default(),
            failed: BTreeMap::new(),
        }
    }

    /// One pass. Returns when to make the next although nothing changes.
    pub async fn pass(&mut self, now: Timestamp) -> Option<Timestamp> {
        while self.tasks.try_join_next().is_some() {}
        self.world.follow_gateways(&self.client, &mut self.tasks);
        let mut facts = self.world.facts();
        self.recall_refused(&mut facts, now);
        self.gaps = self.gaps.seen(&facts, now);
        facts.gaps = self.gaps.clone();
        let members: Vec<MeshMember> = self
            .world
            .members
            .all()
            .into_values()
            .filter_map(|own| {
                own.0
                    .as_ref()
                    .ok()
                    .map(|member| self.reporter.newest(member))
            })
            .collect();
        let catalogue = self.catalogue();
        let mut next = self.releases(&catalogue, now).await;
        earlier(&mut next, self.look_at_rights(&members, now).await);
        facts.denied.extend(self.rights.lacking().iter().cloned());
        let found = membership(&facts, now);
        earlier(&mut next, found.next);
        earlier(&mut next, survey::next_look(&facts, now));
        let mut gauges = Gauges {
            members: i64::try_from(members.len()).unwrap_or(i64::MAX),
            pods: [count(found.enrolled), count(found.meshed)],
            ..Gauges::default()
        };
        let is_there = |name: &str| {
            let mut names = members.iter().map(|one| one.metadata.name.as_deref());
            names.any(|one| one == Some(name))
        };
        self.backoff.retain(is_there);
        self.failed.retain(|name, _| is_there(name));
        for member in &members {
            let Some(name) = member.metadata.name.clone() else {
                continue;
            };
            facts.accepted.clone_from(&self.accepted);
            facts.answers = self.asked.answers().clone();
            let seen = Seen {
                member,
                name,
                facts: &facts,
                membership: &found,
                catalogue: &catalogue,
                members: &members,
                now,
            };
            let wake = self.member(&seen, &mut gauges).await;
            earlier(&mut next, wake);
        }
        self.asked.forget_gone(&facts);
        let wake = self.networks(&members, now).await;
        earlier(&mut next, wake);
        gauge::show_gates(&self.asked.answers(), self.unproved.len(), &mut gauges);
        self.metrics.show(&gauges);
        next
    }

    async fn member(&mut self, seen: &Seen<'_>, gauges: &mut Gauges) -> Option<Timestamp> {
        let generation = seen.member.metadata.generation;
        let is_deleted = seen.member.metadata.deletion_timestamp.is_some();
        if let Some(until) = self
            .backoff
            .waits_until(
                &seen.name,
                generation,
                || survey::fingerprint(seen.facts),
                seen.now,
            )
            .filter(|_| !is_deleted)
        {
            let failed = self.failed.get(&seen.name);
            self.show(seen, failed, gauges);
            return Some(until);
        }
        let started = Instant::now();
        let mut outcome = Outcome {
            generation,
            cluster_uid: Some(seen.facts.cluster_uid.clone()),
            kubernetes_version: Some(seen.facts.server_version.clone()),
            upgrade: seen.member.spec.upgrade.clone(),
            membership: Some(survey::membership(seen.membership)),
            ..Outcome::default()
        };
        let mut next = None;
        let result = if is_deleted {
            self.leave(seen, &mut outcome, &mut next).await
        } else {
            self.converge(seen, &mut outcome, &mut next)
                .await
                .map(|()| false)
        };
        let mut failed = None;
        match result {
            Ok(true) => {
                self.metrics.pass(started.elapsed().as_secs_f64(), None);
                return None;
            }
            Ok(false) => self.backoff.succeeded(&seen.name),
            Err(error) => {
                failed = Some(error.reason());
                let until = if error.is_terminal() {
                    let facts = survey::fingerprint(seen.facts);
                    self.backoff
                        .stopped(&seen.name, generation, facts, seen.now)
                } else {
                    self.backoff.failed(&seen.name, generation, seen.now)
                };
                warn!(member = seen.name, error = %super::chain(&error), reason = %error.reason(), "pass failed");
                outcome.failure = Some(error.failure());
                earlier(&mut next, Some(until));
            }
        }
        self.metrics.pass(started.elapsed().as_secs_f64(), failed);
        match self
            .reporter
            .member(&self.client, seen.member, &outcome, seen.now)
            .await
        {
            Ok(later) => {
                if let Some(ended) = outcome.rollout.ended.as_ref().filter(|_| later.is_none()) {
                    self.metrics.rollout(ended.as_str());
                }
                earlier(&mut next, later);
            }
            Err(error) => {
                warn!(member = seen.name, error = %super::chain(&error), "cannot report");
                earlier(&mut next, seen.now.checked_add(SOON).ok());
            }
        }
        self.show(seen, Some(&outcome), gauges);
        if failed.is_some() {
            self.failed.insert(seen.name.clone(), outcome);
        } else {
            self.failed.remove(&seen.name);
        }
        next
    }

    /// Adds a member to the gauges: what a pass over it found, and what its status says.
    fn show(&self, seen: &Seen<'_>, found: Option<&Outcome>, gauges: &mut Gauges) {
        if let Some(outcome) = found {
            gauge::show(outcome, gauges);
        }
        let reported = self.reporter.newest(seen.member);
        if let Some(status) = &reported.status {
            gauge::show_status(status, gauges);
        }
    }
}

/// Keeps the earlier of two times.
pub fn earlier(next: &mut Option<Timestamp>, other: Option<Timestamp>) {
    if let Some(other) = other {
        *next = Some(next.map_or(other, |known| known.min(other)));
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
