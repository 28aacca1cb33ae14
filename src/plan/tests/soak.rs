//! How long nodes are watched, and what a restart meanwhile does.

use super::*;
use crate::names;
use crate::plan::Gate;

const SOAK: SignedDuration = SignedDuration::from_mins(2);

/// A mesh whose canary is being watched, half of its time.
fn half_watched(arriving: &Targets) -> Model {
    let mut model = installed(2);
    model.orders.strategy.canary_soak = SOAK;
    let plan = until(&mut model, arriving, |plan| plan.watched_until.is_some());
    let half = plan.watched_until.unwrap() - SOAK / 2;
    while model.now < half {
        model.operate(arriving, Phase::Installed, usize::MAX);
        model.step(1);
    }
    model
}

/// Containers of a pod of the first node are started again; `is_up` when nobody looked before they ran again.
fn restart(model: &mut Model, name: &str, is_up: bool) {
    let mut pod = model.facts.pods[name].as_ref().clone();
    pod.restarts += 1;
    pod.ready = is_up;
    pod.ready_since = Some(model.now);
    model.facts.pods.insert(name.to_owned(), pod.into());
}

fn passes(plan: &Plan) -> bool {
    let mut acts = plan.acts.iter();
    acts.any(|act| matches!(act, Act::PassCanary { .. }))
}

#[test]
fn a_restart_while_a_node_is_watched_begins_the_watch_anew() {
    let arriving = target(LogLevel::Debug, LogLevel::Info);
    let proxy = format!("{}.node-0", arriving.target.daemon_set);
    let agent = format!("{}.node-0", names::CNI_DAEMON_SET);
    for name in [proxy, agent] {
        let mut model = half_watched(&arriving);
        let restarted = model.now;
        restart(&mut model, &name, false);
        until(&mut model, &arriving, passes);
        let since = model.facts.pods[&name].ready_since.unwrap();
        assert!(since > restarted, "{name}");
        let watched = model.now.duration_since(since);
        assert!(watched >= SOAK, "{name} was watched for {watched:#} only");
        assert_eq!(labels(&model, is_moving), 1, "nobody else begins meanwhile");
        assert!(settle(&mut model, &arriving, Phase::Installed), "{name}");
    }
}

#[test]
fn a_proxy_that_restarts_three_times_while_it_is_watched_fails_on_the_canary() {
    let arriving = target(LogLevel::Debug, LogLevel::Info);
    let proxy = format!("{}.node-0", arriving.target.daemon_set);
    let mut model = half_watched(&arriving);
    for _ in 0..2 {
        restart(&mut model, &proxy, true);
        work(&mut model, &arriving, 20, |_| false);
        assert_eq!(model.orders.failed, None);
    }
    restart(&mut model, &proxy, true);
    let has_failed = |model: &Model| model.orders.failed.is_some();
    work(&mut model, &arriving, 40, has_failed);
    let reason = model.orders.failed.clone().unwrap();
    let expected = format!(
        "gate {} on node node-0, pod {proxy}: restarted 3 times",
        Gate::Soak
    );
    assert_eq!(reason, expected);
    assert!(settle_at(&mut model, &arriving, &plain(), Phase::Installed));
    assert_eq!(
        labels(&model, is_moving),
        2,
        "there and back, the canary only"
    );
}
