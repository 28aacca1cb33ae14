//! What a pass shows in metrics.

use crate::metrics::Gauges;
use crate::names;
use crate::status::{Outcome, Progress};

/// Adds a member's state to the gauges.
pub fn show(outcome: &Outcome, gauges: &mut Gauges) {
    if let Progress::Working(work) = &outcome.progress {
        gauges
            .steps
            .push((work.step, work.wait.as_ref().map(|wait| wait.reason)));
        if let Some(nodes) = &work.nodes {
            gauges.nodes = [
                nodes.total,
                nodes.updated,
                nodes.set_aside,
                nodes.unsupported,
            ]
            .map(i64::from);
        }
    }
    if matches!(outcome.progress, Progress::Settled { .. }) {
        let proxies = outcome
            .components
            .iter()
            .flatten()
            .find(|component| component.status.name == names::ZTUNNEL);
        if let Some(proxies) = proxies {
            gauges.nodes[0] = proxies.status.desired.into();
            gauges.nodes[1] = proxies.status.updated.into();
        }
    }
    for certificate in outcome.certificates.iter().flatten() {
        let what = match certificate.what.as_str() {
            "root" => "root",
            _ => "intermediate",
        };
        if let Some(end) = &certificate.not_after {
            gauges.certificates.push((what, end.0.as_second()));
        }
    }
}
