//! The hops between two releases: one minor each.

use super::refusal::Refusal;
use super::situation::Situation;
use crate::catalogue::{Minor, Release, Version};

/// The hops up from a version to a later one, the goal last.
pub(super) fn from<'a>(
    situation: &Situation<'a>,
    running: Version,
    goal: &'a Release,
) -> Result<Vec<&'a Release>, Refusal> {
    walk(
        situation,
        running,
        situation
            .catalogue
            .get(running)
            .map(|release| release.istio.line()),
        goal,
    )
}

/// The hops up from a release to one of a later line.
pub(super) fn up<'a>(
    situation: &Situation<'a>,
    from: &Release,
    goal: &'a Release,
) -> Result<Vec<&'a Release>, Refusal> {
    walk(situation, from.version, Some(from.istio.line()), goal)
}

fn walk<'a>(
    situation: &Situation<'a>,
    from: Version,
    istio: Option<Minor>,
    goal: &'a Release,
) -> Result<Vec<&'a Release>, Refusal> {
    let means = goal.version;
    let no_way = |missing: Minor, why: String| Refusal::NoWay {
        from,
        means,
        missing,
        why,
    };
    if means.major != from.major {
        return Err(no_way(
            means.line(),
            "there is no step between two major versions".to_owned(),
        ));
    }
    let mut hops: Vec<&Release> = Vec::new();
    let mut istio = istio;
    // The first line that cannot be taken ends the walk, so it is as short as the catalogue.
    for minor in from.minor.saturating_add(1)..=means.minor {
        let line = Minor::new(means.major, minor);
        let hop = if line == means.line() {
            goal
        } else {
            situation
                .catalogue
                .newest_of_line(line, situation.kubernetes, situation.now)
                .ok_or_else(|| {
                    no_way(
                        line,
                        format!(
                            "no release of it can be taken on Kubernetes {}",
                            situation.kubernetes
                        ),
                    )
                })?
        };
        // Istio's own rule: a data plane at most one minor behind its control plane.
        if let Some(before) = istio.replace(hop.istio.line())
            && hop.istio.line().minor > before.minor.saturating_add(1)
        {
            return Err(no_way(
                line,
                format!(
                    "{} carries Istio {}, more than one minor above Istio {before}",
                    hop.version, hop.istio
                ),
            ));
        }
        hops.push(hop);
    }
    if hops.is_empty() {
        hops.push(goal);
    }
    Ok(hops)
}

/// The hop down from a version to an earlier one: within the line, or one line back from the newest that has run here,
/// because definitions are never taken back.
pub(super) fn down<'a>(
    situation: &Situation<'_>,
    running: Version,
    goal: &'a Release,
) -> Result<Vec<&'a Release>, Refusal> {
    let highest = situation
        .history
        .iter()
        .filter(|entry| entry.result == "Succeeded")
        .flat_map(|entry| entry.from.as_ref().into_iter().chain([&entry.to]))
        .filter_map(|text| text.parse::<Version>().ok())
        .chain([running])
        .max()
        .unwrap_or(running);
    // A patch of the line that runs is no line back, whatever has run here.
    let within = goal.version.line() == running.line();
    let nearest = Minor::new(highest.major, highest.minor.saturating_sub(1));
    if within || goal.version.line() >= nearest {
        return Ok(vec![goal]);
    }
    Err(Refusal::TooFarBack {
        means: goal.version,
        from: highest,
        is_running: highest.line() == running.line(),
        nearest,
    })
}
