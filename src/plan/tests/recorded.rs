//! An operator that would render another template than the one that is on its way.

use super::*;
use crate::api::conditions::Step;

/// What a later operator makes of the same spec, where this revision is on its way.
fn by_another(model: &Model, rendered: &Targets, begun: &Targets) -> Targets {
    let revision = begun.target.revision.as_str();
    let recorded = rendered.target.recorded(&model.facts, revision);
    Targets {
        target: recorded.map_or_else(|| rendered.target.clone(), Into::into),
        settled: rendered.settled.clone(),
    }
}

/// Works as the operator does that has another template, whatever is on its way.
fn take_over(model: &mut Model, rendered: &Targets, begun: &Targets) -> bool {
    for round in 0..240_u16 {
        let targets = by_another(model, rendered, begun);
        let plan = model.operate(&targets, Phase::Installed, usize::MAX);
        if plan.done && plan.acts.is_empty() {
            return true;
        }
        for choice in 0..8 {
            model.step(choice + 8 * u8::try_from(round % 30).unwrap());
            model.note_silence();
        }
    }
    false
}

#[test]
fn what_was_begun_by_an_operator_is_reached_by_one_that_would_render_something_else() {
    let first = plain();
    let rows = [
        // Another template of the release that runs, and another release.
        (
            target(LogLevel::Debug, LogLevel::Debug),
            target(LogLevel::Trace, LogLevel::Warn),
        ),
        (
            newer(),
            between(&first, &release((1, 7, 0), LogLevel::Debug)),
        ),
    ];
    for (begun, rendered) in rows {
        assert_ne!(begun.target.revision, rendered.target.revision);
        for moved in [0, 1, 2] {
            let mut model = installed(3);
            let is_there = |model: &Model| {
                let sets = &begun.target.daemon_set;
                let mut keys = model.facts.objects.keys();
                keys.any(|key| key.name == *sets) && labels(model, is_moving) >= moved
            };
            work(&mut model, &begun, 255, is_there);
            for round in 0..100 {
                if is_there(&model) {
                    break;
                }
                model.operate(&begun, Phase::Installed, usize::MAX);
                model.step(round % 7);
            }
            assert!(is_there(&model), "{moved}");
            model.orders.failed = None;
            assert!(take_over(&mut model, &rendered, &begun), "{moved}");
            assert!(model.is_at(&begun.target), "{moved}");
            assert_eq!(labels(&model, is_moving), 3, "each node moves once");
            assert!(model.most_silent <= 1, "one agent at a time");
            // Then its own turn comes.
            let alone = Targets::one(rendered.target.clone());
            assert!(settle(&mut model, &alone, Phase::Installed), "{moved}");
        }
    }
}

#[test]
fn what_was_begun_to_be_taken_back_is_taken_back_by_one_that_would_render_something_else() {
    let mut model = installed(3);
    let begun = target(LogLevel::Debug, LogLevel::Info);
    let rendered = target(LogLevel::Trace, LogLevel::Info);
    model.broken.insert(begun.target.revision.to_string());
    let has_failed = |model: &Model| model.orders.failed.is_some();
    work(&mut model, &begun, 250, has_failed);
    assert!(has_failed(&model));
    assert!(take_over(&mut model, &rendered, &begun));
    assert!(model.is_at(&plain().target));
    assert_eq!(labels(&model, is_moving), 1, "the canary only");
}

#[test]
fn a_revision_of_which_nothing_is_in_the_cluster_is_recorded_nowhere() {
    let model = installed(2);
    let rendered = target(LogLevel::Debug, LogLevel::Info).target;
    assert_eq!(rendered.recorded(&model.facts, "1-6-0-abcdef"), None);
    // Nor is one of another release.
    let other = release((1, 7, 0), LogLevel::Info).target;
    let settled = plain().target.revision.clone();
    assert_eq!(other.recorded(&model.facts, settled.as_str()), None);
    assert!(rendered.recorded(&model.facts, settled.as_str()).is_some());
}

#[test]
fn what_was_begun_to_be_finished_is_finished_before_what_a_changed_spec_makes() {
    let rows = [
        (
            newer(),
            between(&plain(), &release((1, 7, 0), LogLevel::Debug)),
        ),
        (
            target(LogLevel::Debug, LogLevel::Info),
            target(LogLevel::Trace, LogLevel::Info),
        ),
    ];
    for (begun, rendered) in rows {
        let mut model = installed(2);
        until(&mut model, &begun, |plan| {
            plan.step == Step::Finish && !plan.acts.is_empty()
        });
        model.operate(&begun, Phase::Installed, 1);
        let (from, to) = (plain().target.version, begun.target.version);
        assert!(crate::plan::is_past_return(&model.facts, from, to));
        let moved = labels(&model, |_| true);
        assert!(take_over(&mut model, &rendered, &begun));
        assert!(model.is_at(&begun.target));
        let back = |label: Option<&str>| is_moving(label);
        assert_eq!(
            labels(&model, back),
            2,
            "none goes back after {moved} marks"
        );
        let alone = Targets::one(rendered.target.clone());
        assert!(settle(&mut model, &alone, Phase::Installed));
    }
}
