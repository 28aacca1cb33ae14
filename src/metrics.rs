//! Metric families of the operator. Labels come from enums, never from names or messages.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::api::conditions::{Reason, Step};

/// Bounds of passes in seconds: a pass without work takes a millisecond, one with an install's writes some hundred.
const BUCKETS: [f64; 10] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabel {
    step: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WhatLabel {
    what: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GateLabel {
    gate: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GateResultLabel {
    gate: &'static str,
    result: &'static str,
}

type Float = Gauge<f64, AtomicU64>;

/// The operator's metrics.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    passes: Family<ResultLabel, Counter>,
    duration: Histogram,
    failures: Family<ReasonLabel, Counter>,
    writes: Family<WhatLabel, Counter>,
    answers: Family<ResultLabel, Counter>,
    gates: Family<GateResultLabel, Gauge>,
    counted: Family<GateResultLabel, Gauge>,
    gate_failures: Family<GateLabel, Counter>,
    unproved: Gauge,
    members: Gauge,
    ready: Gauge,
    step: Family<StepLabel, Gauge>,
    waiting: Family<ReasonLabel, Gauge>,
    nodes: Family<WhatLabel, Gauge>,
    pods: Family<WhatLabel, Gauge>,
    not_after: Family<WhatLabel, Float>,
    leading: Gauge,
    rollouts: Family<ResultLabel, Counter>,
    active: Gauge,
    held_up: Gauge,
    started: Float,
    failed_connections: Family<WhatLabel, Float>,
    watched: Float,
    behind: Family<ReasonLabel, Gauge>,
    end_of_life: Float,
}

/// How a rollout can end.
const ENDINGS: [&str; 3] = ["Succeeded", "RolledBack", "Aborted"];

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("applink");
        let metrics = Self {
            registry: Arc::default(),
            passes: Family::default(),
            duration: Histogram::new(BUCKETS),
            failures: Family::default(),
            writes: Family::default(),
            answers: Family::default(),
            gates: Family::default(),
            counted: Family::default(),
            gate_failures: Family::default(),
            unproved: Gauge::default(),
            members: Gauge::default(),
            ready: Gauge::default(),
            step: Family::default(),
            waiting: Family::default(),
            nodes: Family::default(),
            pods: Family::default(),
            not_after: Family::default(),
            leading: Gauge::default(),
            rollouts: Family::default(),
            active: Gauge::default(),
            held_up: Gauge::default(),
            started: Float::default(),
            failed_connections: Family::default(),
            watched: Float::default(),
            behind: Family::default(),
            end_of_life: Float::default(),
        };
        for result in ENDINGS {
            // A counter that comes up with its first event has not increased for anybody who watches it.
            drop(metrics.rollouts.get_or_create(&ResultLabel { result }));
        }
        registry.register(
            "reconcile",
            "Passes over a member, by result",
            metrics.passes.clone(),
        );
        registry.register(
            "reconcile_duration_seconds",
            "How long a pass took",
            metrics.duration.clone(),
        );
        registry.register(
            "reconcile_failures",
            "Failed passes, by reason",
            metrics.failures.clone(),
        );
        registry.register(
            "writes",
            "Acts on the cluster, by kind of act",
            metrics.writes.clone(),
        );
        registry.register(
            "component_answers",
            "Answers of running components, by result",
            metrics.answers.clone(),
        );
        registry.register("members", "Members", metrics.members.clone());
        registry.register("members_ready", "Members that serve", metrics.ready.clone());
        registry.register(
            "member_step",
            "Members that work on a step",
            metrics.step.clone(),
        );
        registry.register(
            "member_waiting",
            "Members that wait, by reason",
            metrics.waiting.clone(),
        );
        registry.register(
            "nodes",
            "Nodes of the mesh: total, updated, set aside, unsupported",
            metrics.nodes.clone(),
        );
        registry.register(
            "pods",
            "Pods of users: enrolled and meshed",
            metrics.pods.clone(),
        );
        registry.register(
            "certificate_not_after_seconds",
            "When a certificate ends, in seconds since 1970",
            metrics.not_after.clone(),
        );
        registry.register(
            "leading",
            "1 while this process acts",
            metrics.leading.clone(),
        );
        metrics.register_gates(&mut registry);
        metrics.register_rollouts(&mut registry);
        Self {
            registry: Arc::new(registry),
            ..metrics
        }
    }
}

impl Metrics {
    fn register_gates(&self, registry: &mut Registry) {
        registry.register(
            "gate_answers",
            "Last answers of what was asked at a gate, by gate and result: good, bad, or none at all",
            self.gates.clone(),
        );
        registry.register(
            "gate_counted",
            "What these answers counted together, by gate and result: pods of the nodes asked that are served, connections of the probe that went through, and those that are not or did not",
            self.counted.clone(),
        );
        registry.register(
            "gate_failures",
            "Releases that failed, by the gate that they did not pass",
            self.gate_failures.clone(),
        );
        registry.register(
            "nodes_unproved",
            "Nodes of the rollout on its way that the operator's own probe, or their connections, could not prove",
            self.unproved.clone(),
        );
    }

    fn register_rollouts(&self, registry: &mut Registry) {
        registry.register(
            "rollouts",
            "Rollouts that ended, by result",
            self.rollouts.clone(),
        );
        registry.register(
            "rollouts_active",
            "Rollouts on their way that may go on now",
            self.active.clone(),
        );
        registry.register(
            "rollouts_held_up",
            "Rollouts on their way that are paused or wait for their time",
            self.held_up.clone(),
        );
        registry.register(
            "rollout_started_seconds",
            "When the oldest rollout on its way started, in seconds since 1970; 0 when there is none",
            self.started.clone(),
        );
        registry.register(
            "rollout_failed_connections_ratio",
            "The part of connections that failed on the node of a rollout where it has grown most: before it moved, and since; 0 when none was looked at",
            self.failed_connections.clone(),
        );
        registry.register(
            "rollout_watched_until_seconds",
            "Until when nodes are watched that do all they should, in seconds since 1970; 0 when none is",
            self.watched.clone(),
        );
        registry.register(
            "members_behind",
            "Members that are not where their channel or pin leads and do not move, by reason",
            self.behind.clone(),
        );
        registry.register(
            "release_end_of_life_seconds",
            "When the first of the releases that run is cared for no more, in seconds since 1970; 0 when no day is known",
            self.end_of_life.clone(),
        );
    }
}

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// An answer, a good one or not, and how many things were counted as good and as bad.
    Answer {
        /// It is as it should be.
        good: bool,
        /// What was counted, as it should be and not.
        counted: Option<[i64; 2]>,
    },
    /// Nobody answered.
    Nothing,
}

/// What is told about the members after a pass.
#[derive(Clone, Debug, Default)]
pub struct Gauges {
    /// Members.
    pub members: i64,
    /// Members that serve.
    pub ready: i64,
    /// The step of each member that works, and the reason it waits for.
    pub steps: Vec<(Step, Option<Reason>)>,
    /// Nodes: total, updated, set aside, unsupported.
    pub nodes: [i64; 4],
    /// Pods: enrolled, meshed.
    pub pods: [i64; 2],
    /// Last answers of what was asked: the gate and what came of it.
    pub answers: Vec<(&'static str, Heard)>,
    /// Nodes that the probe, or their connections, could not prove.
    pub unproved: i64,
    /// Certificates: what and when they end.
    pub certificates: Vec<(&'static str, i64)>,
    /// Rollouts on their way: when each started, and whether it may go on now.
    pub rollouts: Vec<(i64, bool)>,
    /// The parts of connections that failed on a node before it moved, and since.
    pub compared: Vec<[f64; 2]>,
    /// Until when nodes are watched that do all they should.
    pub watched_until: Option<i64>,
    /// Members that are not where they should be and do not move: why.
    pub behind: Vec<Reason>,
    /// When releases that run are cared for no more.
    pub ends_of_life: Vec<i64>,
}

impl Metrics {
    /// Counts a pass.
    pub fn pass(&self, seconds: f64, failure: Option<Reason>) {
        let result = if failure.is_some() {
            "failed"
        } else {
            "succeeded"
        };
        self.passes.get_or_create(&ResultLabel { result }).inc();
        self.duration.observe(seconds);
        if let Some(reason) = failure {
            self.failures
                .get_or_create(&ReasonLabel {
                    reason: reason.as_str(),
                })
                .inc();
        }
    }

    /// Counts an act.
    pub fn act(&self, what: &'static str) {
        self.writes.get_or_create(&WhatLabel { what }).inc();
    }

    /// Counts an answer of a component.
    pub fn answer(&self, good: bool) {
        let result = if good { "good" } else { "not_good" };
        self.answers.get_or_create(&ResultLabel { result }).inc();
    }

    /// Counts a release that did not pass a gate.
    pub fn gate_failed(&self, gate: String) {
        self.gate_failures.get_or_create(&GateLabel { gate }).inc();
    }

    /// Counts a rollout that ended.
    pub fn rollout(&self, result: &'static str) {
        self.rollouts.get_or_create(&ResultLabel { result }).inc();
    }

    /// Leadership was won or lost.
    pub fn leads(&self, leads: bool) {
        self.leading.set(i64::from(leads));
    }

    /// Tells what a pass found.
    pub fn show(&self, gauges: &Gauges) {
        self.members.set(gauges.members);
        self.ready.set(gauges.ready);
        self.step.clear();
        self.waiting.clear();
        for (step, reason) in &gauges.steps {
            self.step
                .get_or_create(&StepLabel {
                    step: step.as_str(),
                })
                .inc();
            if let Some(reason) = reason {
                self.waiting
                    .get_or_create(&ReasonLabel {
                        reason: reason.as_str(),
                    })
                    .inc();
            }
        }
        for (what, count) in ["total", "updated", "set_aside", "unsupported"]
            .into_iter()
            .zip(gauges.nodes)
        {
            self.nodes.get_or_create(&WhatLabel { what }).set(count);
        }
        for (what, count) in ["enrolled", "meshed"].into_iter().zip(gauges.pods) {
            self.pods.get_or_create(&WhatLabel { what }).set(count);
        }
        for (what, at) in &gauges.certificates {
            self.not_after
                .get_or_create(&WhatLabel { what })
                .set(seconds(*at));
        }
        self.show_gates(gauges);
        self.show_rollouts(gauges);
    }

    fn show_gates(&self, gauges: &Gauges) {
        self.gates.clear();
        self.counted.clear();
        for (gate, heard) in &gauges.answers {
            let label = |result| GateResultLabel { gate, result };
            let result = match heard {
                Heard::Answer { good: true, .. } => "good",
                Heard::Answer { good: false, .. } => "bad",
                Heard::Nothing => "none",
            };
            self.gates.get_or_create(&label(result)).inc();
            if let Heard::Answer {
                counted: Some(counted),
                ..
            } = heard
            {
                for (result, count) in ["good", "bad"].into_iter().zip(counted) {
                    self.counted.get_or_create(&label(result)).inc_by(*count);
                }
            }
        }
        self.unproved.set(gauges.unproved);
    }

    fn show_rollouts(&self, gauges: &Gauges) {
        let active = gauges.rollouts.iter().filter(|(_, active)| *active).count();
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.active.set(count(active));
        self.held_up.set(count(gauges.rollouts.len() - active));
        let first = gauges.rollouts.iter().map(|(started, _)| *started).min();
        self.started.set(seconds(first.unwrap_or_default()));
        let worst = gauges
            .compared
            .iter()
            .copied()
            .max_by(|one, other| (one[1] - one[0]).total_cmp(&(other[1] - other[0])));
        for (what, ratio) in ["before", "since"]
            .into_iter()
            .zip(worst.unwrap_or_default())
        {
            (self.failed_connections)
                .get_or_create(&WhatLabel { what })
                .set(ratio);
        }
        self.watched
            .set(seconds(gauges.watched_until.unwrap_or_default()));
        self.behind.clear();
        for reason in &gauges.behind {
            let label = ReasonLabel {
                reason: reason.as_str(),
            };
            self.behind.get_or_create(&label).inc();
        }
        let end = gauges.ends_of_life.iter().copied().min();
        self.end_of_life.set(seconds(end.unwrap_or_default()));
    }

    /// The text that Prometheus reads.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String fails only when a metric refuses to be encoded, and ours never do.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "seconds since 1970 fit the mantissa for millions of years"
)]
const fn seconds(at: i64) -> f64 {
    at as f64
}

#[cfg(test)]
mod tests;
