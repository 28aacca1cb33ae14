//! Pods that nobody makes: a quota or an admission policy refuses them.

use super::*;
use crate::facts::{Gaps, Quota};
use crate::names;

fn quota(model: &mut Model) {
    model.facts.quotas.push(Quota {
        name: "few".to_owned(),
        hard: 3,
        used: 3,
    });
}

/// Works until something has failed, for as many rounds at most.
fn failure(model: &mut Model, targets: &Targets, rounds: u16) -> Option<String> {
    for round in 0..rounds {
        if model.orders.failed.is_some() {
            break;
        }
        model.operate(targets, Phase::Installed, usize::MAX);
        model.step(u8::try_from(round % 7).unwrap());
    }
    model.orders.failed.clone()
}

#[test]
fn a_proxy_that_cannot_be_made_fails_the_gate_in_its_time_and_says_why() {
    let mut model = installed(3);
    let arriving = target(LogLevel::Debug, LogLevel::Info);
    model.refused.insert(arriving.target.daemon_set.clone());
    quota(&mut model);
    let begun = model.now;
    let reason = failure(&mut model, &arriving, 400).unwrap();
    let start = format!(
        "gate Proxy on node node-0: DaemonSet {} has made no pod there for ",
        arriving.target.daemon_set
    );
    assert!(reason.starts_with(&start), "{reason}");
    assert!(
        reason.ends_with(
            "ResourceQuota applink-system/few allows 3 pods and counts 3: raise it or delete it"
        ),
        "{reason}"
    );
    let took = model.now.duration_since(begun);
    let timeout = model.orders.strategy.gate_timeout;
    assert!(took >= timeout && took < timeout * 2, "{took}");
    assert!(settle_at(&mut model, &arriving, &plain(), Phase::Installed));
    assert_eq!(model.most_silent, 0);
}

#[test]
fn an_agent_that_cannot_be_made_fails_the_gate_in_its_time() {
    let mut model = installed(3);
    let arriving = target(LogLevel::Info, LogLevel::Debug);
    let is_replaced = |model: &Model| {
        let deletes = |act: &Act| matches!(act, Act::DeletePod { .. });
        model.acts.iter().any(deletes)
    };
    work(&mut model, &arriving, 250, is_replaced);
    model.refused.insert(names::CNI_DAEMON_SET.to_owned());
    let reason = failure(&mut model, &arriving, 400).unwrap();
    assert!(
        reason.starts_with("gate Agent on node node-0: DaemonSet istio-cni-node has made no pod"),
        "{reason}"
    );
    assert!(
        reason.ends_with("kubectl -n applink-system describe daemonset istio-cni-node"),
        "{reason}"
    );
    model.refused.clear();
    assert!(settle_at(&mut model, &arriving, &plain(), Phase::Installed));
}

#[test]
fn the_clock_of_a_gate_runs_on_while_the_operator_is_started_again() {
    let mut model = installed(2);
    let arriving = target(LogLevel::Debug, LogLevel::Info);
    model.refused.insert(arriving.target.daemon_set.clone());
    work(&mut model, &arriving, 250, |model| {
        labels(model, is_moving) > 0
    });
    // Started again every minute and a half, so that no process sees it for as long as the gate allows.
    let begun = model.now;
    let mut started = model.now;
    while model.orders.failed.is_none() {
        assert!(model.now.duration_since(begun) < SignedDuration::from_mins(10));
        if model.now.duration_since(started) > SignedDuration::from_secs(90) {
            model.facts.gaps = Gaps::default();
            started = model.now;
        }
        model.operate(&arriving, Phase::Installed, usize::MAX);
        model.step(3);
    }
}

#[test]
fn a_proxy_that_is_made_anew_after_a_long_watch_fails_nothing() {
    let mut model = installed(2);
    let arriving = target(LogLevel::Debug, LogLevel::Info);
    model.orders.strategy.canary_soak = SignedDuration::from_hours(1);
    let is_watched = |plan: &Plan| {
        let waits = plan.wait.as_ref();
        waits.is_some_and(|wait| wait.message.contains("it is watched until"))
    };
    until(&mut model, &arriving, is_watched);
    model.now += SignedDuration::from_mins(30);
    model.end(&format!("{}.node-0", arriving.target.daemon_set));
    for _ in 0..20 {
        // Nobody has made another one yet.
        model.operate(&arriving, Phase::Installed, usize::MAX);
        model.step(1);
    }
    assert_eq!(model.orders.failed, None);
    model.orders.strategy.canary_soak = SignedDuration::from_secs(20);
    assert!(settle(&mut model, &arriving, Phase::Installed));
}

#[test]
fn a_control_plane_that_cannot_be_made_is_given_up_in_its_time_and_says_why() {
    let mut model = installed(2);
    let targets = newer();
    model.refused.insert(targets.target.istiod.clone());
    let reason = failure(&mut model, &targets, 600).unwrap();
    assert!(
        reason.starts_with("gate ControlPlane: a replica could not be made for ")
            && reason.ends_with("s: exceeded quota: few"),
        "{reason}"
    );
    assert!(settle_at(&mut model, &targets, &plain(), Phase::Installed));
    assert_eq!(labels(&model, is_moving), 0);
}
