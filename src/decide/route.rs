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
    walk(situation, running, situation.catalogue.get(running), goal)
}

/// The hops up from a release to one of a later line.
pub(super) fn up<'a>(
    situation: &Situation<'a>,
    from: &'a Release,
    goal: &'a Release,
) -> Result<Vec<&'a Release>, Refusal> {
    walk(situation, from.version, Some(from), goal)
}

/// `entry` is that of `from`, where the catalogue still has one.
fn walk<'a>(
    situation: &Situation<'a>,
    from: Version,
    entry: Option<&'a Release>,
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
    let mut before = entry;
    // Within its line the goal is the only hop. The first line that cannot be taken ends the walk, so it is as short as the
    // catalogue.
    for minor in from.minor.saturating_add(1).min(means.minor)..=means.minor {
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
        if let Some(leap) = before.replace(hop).and_then(|one| hop.leap_from(one)) {
            return Err(no_way(line, leap.to_string()));
        }
        hops.push(hop);
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
        let entry = situation.catalogue.get(running);
        return match entry.and_then(|entry| goal.leap_from(entry)) {
            None => Ok(vec![goal]),
            Some(leap) => Err(Refusal::NoWay {
                from: running,
                means: goal.version,
                missing: goal.version.line(),
                why: leap.to_string(),
            }),
        };
    }
    Err(Refusal::TooFarBack {
        means: goal.version,
        from: highest,
        is_running: highest.line() == running.line(),
        nearest,
    })
}
