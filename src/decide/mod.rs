//! What a member does next with its version: stay, wait or move.
//!
//! One pure function of the spec, what runs, what failed here, the catalogue, the Kubernetes version, the calendar, the
//! network's stage and `now`. What a spec *means* is [`crate::catalogue::resolve`]; here is what a running member does
//! with the answer:
//!
//! - one minor per hop, several hops one after another, never a release that does not support this Kubernetes;
//! - judged from the version that runs, never from one that was asked for and not reached;
//! - what somebody asks for starts at once; what the catalogue or a new operator brings waits for its time;
//! - an exact pin moves only when somebody changes it; a channel or minor pin leaves an affected version before any other
//!   move; nothing goes back by itself except from a withdrawn version;
//! - a release that failed here is not tried again by itself.
//!
//! [`course()`] is the same question during a rollout.

mod course;
mod decision;
mod record;
mod refusal;
mod report;
mod request;
mod route;
mod situation;

pub use course::{Because, Course, InFlight, course};
pub use decision::{Decision, Hold, Initiator, Move, Rest, Wait, Why};
pub use record::{
    Flight, Sources, author, images, known_releases, release, settings, still_counts, template,
};
pub use refusal::Refusal;
pub use report::{Report, report};
pub use request::Requests;
pub use situation::{Situation, Stage, Template, TemplateAuthor, follows};

use crate::catalogue::{Notice, Pin, Release, Resolution, Version, resolve};
use crate::window::{Gate, Work};

/// What a member does next.
pub fn decide(situation: &Situation<'_>) -> Decision {
    let decision = match next(situation) {
        Ok(decision) => decision,
        Err(refusal) => Decision::stay(Rest::Refused(refusal), Vec::new()),
    };
    let is_refused = matches!(
        decision,
        Decision::Stay {
            rest: Rest::Refused(_),
            ..
        }
    );
    if is_refused || matches!(decision, Decision::Move(_)) {
        return decision;
    }
    // What somebody changes for the nodes does not wait for a release that may come, or may not.
    match asked_template(situation) {
        Some(next) => Decision::Move(next),
        None => decision,
    }
}

/// The changed settings of the version that runs, when somebody asked for them and they may be rolled out.
fn asked_template(situation: &Situation<'_>) -> Option<Move> {
    let Template::Changed {
        by: TemplateAuthor::Spec,
        ..
    } = situation.template
    else {
        return None;
    };
    let running = situation.catalogue.get(situation.running?)?;
    let next = template_move(running, TemplateAuthor::Spec, Initiator::Spec);
    (situation.paused().is_none() && failure(situation, &next).is_none()).then_some(next)
}

/// The rollout of another per-node template at the version that runs.
fn template_move(running: &Release, author: TemplateAuthor, by: Initiator) -> Move {
    Move {
        to: Box::new(running.clone()),
        goal: running.version,
        hops: vec![running.version],
        why: Why::Template(author),
        by,
        fixes: Vec::new(),
        closes: None,
    }
}

fn next(situation: &Situation<'_>) -> Result<Decision, Refusal> {
    let calendar = situation.calendar.map_err(Clone::clone)?;
    let resolution = resolve(
        situation.upgrade,
        situation.running,
        situation.catalogue,
        situation.kubernetes,
        situation.now,
    )?;
    let planned = match situation.running {
        None => Planned::Move(Move {
            hops: vec![resolution.release.version],
            goal: resolution.release.version,
            why: Why::Install,
            by: Initiator::Spec,
            fixes: Vec::new(),
            closes: None,
            to: Box::new(resolution.release.clone()),
        }),
        Some(running) => running_member(situation, &resolution, running)?,
    };
    let mut next = match planned {
        Planned::Rest(rest) => return Ok(Decision::stay(rest, resolution.notices)),
        Planned::Move(next) => next,
    };
    if let Some(failed) = failure(situation, &next) {
        return Ok(Decision::stay(failed, resolution.notices));
    }
    if let Some(paused) = situation.paused() {
        return Ok(Decision::wait(next, None, paused));
    }
    if next.by == Initiator::Spec {
        return Ok(Decision::Move(next));
    }
    if let Stage::Held { name } = situation.stage {
        let name = name.to_owned();
        return Ok(Decision::wait(next, None, Hold::Stage { name }));
    }
    match calendar.gate(work(situation, &next), situation.now) {
        Gate::Open { closes } => {
            next.closes = closes;
            Ok(Decision::Move(next))
        }
        Gate::Closed { until, by } => Ok(Decision::wait(next, until, by.into())),
    }
}

/// What would be done if nothing had failed and the time were right.
enum Planned {
    Rest(Rest),
    Move(Move),
}

fn running_member(
    situation: &Situation<'_>,
    resolution: &Resolution,
    running: Version,
) -> Result<Planned, Refusal> {
    let is_exact = matches!(resolution.pin, Some(Pin::Exact(_)));
    let goal = if is_exact {
        &resolution.release
    } else {
        unaffected(situation, &resolution.release)
    };
    let asked = is_asked(situation, resolution, running);
    // Somebody who asks to leave the line downwards is not sent to its newest patch first.
    let goes_back = asked
        && goal.version.line() < running.line()
        && route::down(situation, running, goal).is_ok();
    if !is_exact
        && !goes_back
        && let Some((cure, notice)) = cure(situation, running, goal)
    {
        let by = initiator(resolution, asked);
        // On the way to a goal in another line this is the first hop, and no step up.
        let mut hops = vec![cure.version];
        if goal.version.line() > cure.version.line() {
            // A way that is blocked further on does not hold up the cure.
            hops.extend(
                route::up(situation, cure, goal)
                    .unwrap_or_default()
                    .iter()
                    .map(|hop| hop.version),
            );
        }
        let goal = hops.last().copied().unwrap_or(cure.version);
        return Ok(Planned::Move(Move {
            fixes: situation.fixed_on_the_way(running, cure.version),
            to: Box::new(cure.clone()),
            goal,
            hops,
            why: Why::Affected(notice),
            by,
            closes: None,
        }));
    }
    if goal.version == running {
        return Ok(settled(situation, resolution, goal));
    }
    let way: Vec<&Release> = if goal.version > running {
        route::from(situation, running, goal)?
    } else {
        let withdrawn = situation
            .catalogue
            .get(running)
            .is_some_and(|release| release.withdrawn.is_some());
        if !asked && !withdrawn {
            return Ok(Planned::Rest(Rest::Ahead {
                running,
                means: goal.version,
                follows: follows(resolution),
            }));
        }
        route::down(situation, running, goal)?
    };
    let first = way.first().copied().unwrap_or(goal);
    Ok(Planned::Move(Move {
        fixes: situation.fixed_on_the_way(running, first.version),
        to: Box::new(first.clone()),
        goal: goal.version,
        hops: way.iter().map(|hop| hop.version).collect(),
        why: why(situation, resolution, running, asked),
        by: initiator(resolution, asked),
        closes: None,
    }))
}

/// The version is right: what is left is the template, and what an exact pin holds on to.
fn settled(situation: &Situation<'_>, resolution: &Resolution, goal: &Release) -> Planned {
    let running = goal.version;
    if let Template::Changed { by: author, .. } = situation.template {
        let by = match author {
            TemplateAuthor::Spec => Initiator::Spec,
            // What the catalogue brings: the channel's where one is followed.
            TemplateAuthor::Release => initiator(resolution, false),
            TemplateAuthor::Operator => Initiator::Operator,
        };
        return Planned::Move(template_move(goal, author, by));
    }
    let affected = resolution
        .notices
        .iter()
        .find(|notice| is_affected(notice))
        .filter(|_| resolution.release.version == running)
        .cloned();
    Planned::Rest(match affected {
        Some(notice) => Rest::Affected {
            running,
            is_pinned: matches!(resolution.pin, Some(Pin::Exact(_))),
            notice,
        },
        None => Rest::Current { running },
    })
}

const fn is_affected(notice: &Notice) -> bool {
    matches!(notice, Notice::Withdrawn { .. } | Notice::Vulnerable { .. })
}

/// What a channel or line means when what it lists is vulnerable: the newest patch of that line, if it fixes something.
fn unaffected<'a>(situation: &Situation<'a>, listed: &'a Release) -> &'a Release {
    let better = |newest: &&Release| {
        newest.version > listed.version
            && !situation.has_failed(newest.version)
            && !situation
                .fixed_on_the_way(listed.version, newest.version)
                .is_empty()
    };
    situation
        .catalogue
        .newest_of_line(listed.version.line(), situation.kubernetes, situation.now)
        .filter(better)
        .unwrap_or(listed)
}

/// Where a member leaves an affected version for, without leaving its line: the goal when it is there, else the line's
/// newest patch; lower only when what runs was withdrawn. `None` when nothing is wrong or the line has nothing better.
fn cure<'a>(
    situation: &Situation<'a>,
    running: Version,
    goal: &'a Release,
) -> Option<(&'a Release, Notice)> {
    let catalogue = situation.catalogue;
    let newest = || catalogue.newest_of_line(running.line(), situation.kubernetes, situation.now);
    let better = Some(goal)
        .filter(|goal| goal.version.line() == running.line() && goal.version != running)
        .or_else(newest)
        .filter(|better| better.version != running && !situation.has_failed(better.version))
        .filter(|better| {
            let entry = catalogue.get(running);
            entry.is_none_or(|entry| better.leap_from(entry).is_none())
        })?;
    let withdrawn = catalogue
        .get(running)
        .and_then(|release| release.withdrawn.clone());
    if let Some(reason) = withdrawn {
        return Some((better, Notice::Withdrawn { reason }));
    }
    let fixes = situation.fixed_on_the_way(running, better.version);
    (better.version > running && !fixes.is_empty()).then(|| {
        let notice = Notice::Vulnerable {
            fixes,
            fixed_in: better.version,
        };
        (better, notice)
    })
}

/// Somebody asked for the move: the spec follows something else than what brought the member where it is.
fn is_asked(situation: &Situation<'_>, resolution: &Resolution, running: Version) -> bool {
    match (situation.reached_by, resolution.pin) {
        // An exact pin names its version: nothing else brings it about.
        (_, Some(Pin::Exact(version))) => version != running,
        // Another line than the one that runs was pinned by somebody.
        (_, Some(Pin::Line(line))) if line != running.line() => true,
        (Some(before), _) => before != follows(resolution),
        (None, _) => false,
    }
}

const fn initiator(resolution: &Resolution, asked: bool) -> Initiator {
    match (asked, resolution.channel) {
        (true, _) => Initiator::Spec,
        (false, Some(_)) => Initiator::Channel,
        (false, None) => Initiator::Operator,
    }
}

fn why(situation: &Situation<'_>, resolution: &Resolution, running: Version, asked: bool) -> Why {
    let withdrawn = situation
        .catalogue
        .get(running)
        .and_then(|release| release.withdrawn.clone());
    match (asked, withdrawn, resolution.channel) {
        (true, ..) => Why::Asked {
            follows: follows(resolution),
        },
        (false, Some(reason), _) => Why::Affected(Notice::Withdrawn { reason }),
        (false, None, Some(channel)) => Why::ChannelMoved(channel),
        (false, None, None) => Why::NewPatch,
    }
}

/// The move was tried here and taken back, and nothing has changed since.
fn failure(situation: &Situation<'_>, next: &Move) -> Option<Rest> {
    let version = next.to.version.to_string();
    let hash = match situation.template {
        Template::Changed { hash, .. } => Some(hash),
        Template::Same => None,
    };
    // At the version that runs only the template that failed is barred.
    let is_template = matches!(next.why, Why::Template(_));
    let failed = situation.failed.iter().find(|failed| {
        failed.version == version && (!is_template || hash == Some(failed.hash.as_str()))
    })?;
    Some(Rest::Failed {
        version: next.to.version,
        goal: next.goal,
        reason: failed.reason.clone(),
    })
}

/// What a calendar wants to know about a move.
fn work(situation: &Situation<'_>, next: &Move) -> Work {
    Work {
        is_minor: situation
            .running
            .is_some_and(|running| situation.changes_minor(running, next.to.version)),
        fixes: !next.fixes.is_empty() || matches!(next.why, Why::Affected(_)),
    }
}

#[cfg(test)]
mod tests;
