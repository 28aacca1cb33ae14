//! What plans must never do, and always come to.

mod agents;
mod failures;
mod fleet;
mod install;
mod left_out;
mod nodes;
mod planes;
mod probe;
mod properties;
mod recorded;
mod rollout;
mod silence;
mod soak;
mod stops;
mod tidy;
mod unmade;
mod upgrade;
mod waves;
mod waypoints;

use jiff::SignedDuration;

use super::model::{Model, blueprint};
use super::{Act, Phase, Plan, Target, Targets};
use crate::api::v1alpha1::LogLevel;
use crate::blueprint::{Canary, Size, Strategy};
use crate::catalogue::Version;

fn target(proxy: LogLevel, agent: LogLevel) -> Targets {
    Targets::one(Target::of(&blueprint(proxy, agent)).unwrap().into())
}

/// The step of a model in which controllers see what was changed.
const OBSERVE: u8 = 1;

/// Quick enough for a model in which every step takes two seconds.
fn strategy(canary: usize, batch: usize) -> Strategy {
    Strategy {
        canary: Canary::Count(canary),
        canary_soak: SignedDuration::from_secs(20),
        batch: Size::Number(batch),
        batch_soak: SignedDuration::from_secs(5),
        drain: std::time::Duration::from_secs(5),
        gate_timeout: SignedDuration::from_mins(4),
        max_unreachable: Size::Percent(100),
        ..Strategy::default()
    }
}

fn labels(model: &Model, wanted: impl Fn(Option<&str>) -> bool) -> usize {
    let is_wanted = |act: &&Act| matches!(act, Act::MarkNode { label: Some(label), .. } if wanted(label.as_deref()));
    model.acts.iter().filter(is_wanted).count()
}

fn is_moving(label: Option<&str>) -> bool {
    label.is_some_and(|label| label.ends_with(".moving"))
}

fn plain() -> Targets {
    target(LogLevel::Info, LogLevel::Info)
}

/// Lets them work until it is enough, for as many rounds at most.
fn work(model: &mut Model, target: &Targets, rounds: u8, enough: impl Fn(&Model) -> bool) {
    for round in 0..rounds {
        if enough(model) {
            return;
        }
        model.operate(target, Phase::Installed, usize::MAX);
        model.step(round % 7);
    }
}

/// Lets the cluster and the operator work until nothing is left to do.
fn settle(model: &mut Model, target: &Targets, phase: Phase) -> bool {
    settle_at(model, target, target, phase)
}

/// The same where another revision than the target is to be left in the end.
fn settle_at(model: &mut Model, target: &Targets, end: &Targets, phase: Phase) -> bool {
    for round in 0..240_u16 {
        let plan = model.operate(target, phase, usize::MAX);
        let done = plan.done && plan.acts.is_empty();
        if done && model.is_at(&end.target) {
            return true;
        }
        // Two times of three controllers act on what they saw before.
        let is_late = round % 3 != 0;
        for choice in (0..7).filter(|choice| !(is_late && *choice == OBSERVE)) {
            // No pod is made at the very end: it could be the last thing that happens, and nobody would look again.
            model.step(choice + 8 * u8::try_from(round % 30).unwrap());
            if phase == Phase::Installed {
                model.note_silence();
            }
        }
        if round < 100 {
            model.step(7 + 8 * u8::try_from(round % 30).unwrap());
        }
    }
    let plan = model.operate(target, phase, 0);
    let acts: Vec<String> = plan
        .acts
        .iter()
        .map(|act| format!("{act:?}").chars().take(300).collect())
        .collect();
    eprintln!(
        "stuck: {:?} {:?} {:?} failed {:?} orphans {}",
        plan.step,
        plan.wait,
        acts,
        model.orders.failed,
        model.mesh.orphans()
    );
    false
}

fn installed(nodes: usize) -> Model {
    let mut model = Model::new(nodes);
    assert!(settle(&mut model, &plain(), Phase::Installing));
    model.acts.clear();
    model.orders.strategy = strategy(1, 1);
    model
}

/// A target of another version.
fn release(version: (u16, u16, u16), agent: LogLevel) -> Targets {
    let mut blueprint = blueprint(LogLevel::Info, agent);
    let (major, minor, patch) = version;
    blueprint.release.version = Version::new(major, minor, patch);
    for image in [
        &mut blueprint.images.istiod,
        &mut blueprint.images.cni,
        &mut blueprint.images.ztunnel,
    ] {
        *image = format!("{image}-{minor}-{patch}");
    }
    Targets::one(Target::of(&blueprint).unwrap().into())
}

/// From one release to another.
fn between(first: &Targets, second: &Targets) -> Targets {
    Targets {
        target: second.target.clone(),
        settled: Some(first.target.clone()),
    }
}

fn newer() -> Targets {
    between(&plain(), &release((1, 7, 0), LogLevel::Info))
}

/// Works until a plan is as wanted, which is not carried out any more.
fn until(model: &mut Model, targets: &Targets, wanted: impl Fn(&Plan) -> bool) -> Plan {
    for round in 0..400_u16 {
        let plan = model.operate(targets, Phase::Installed, 0);
        if wanted(&plan) {
            return plan;
        }
        model.operate(targets, Phase::Installed, usize::MAX);
        model.step(u8::try_from(round % 7 + 8 * (round / 7 % 30)).unwrap());
    }
    panic!("it never came to it");
}
