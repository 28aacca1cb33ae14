//! What a member reports, pass after pass: fixtures.

mod course;
mod passes;
mod size;
mod steering;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::{Component, Outcome, Progress, Wait, Work, next};
use crate::api::conditions::{ConditionType, Step};
use crate::api::v1alpha1::{
    ComponentStatus, MembershipStatus, MeshMemberStatus, RolloutNodes, Upgrade,
};
use crate::catalogue::{Catalogue, Minor, Version, resolve};
use crate::preflight::{Code, Finding, Severity};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn pinned(version: &str) -> Upgrade {
    Upgrade {
        version: Some(version.into()),
        ..Upgrade::default()
    }
}

fn resolved(upgrade: Upgrade, running: Option<Version>) -> Outcome {
    let resolution = resolve(
        Some(&upgrade),
        running,
        &Catalogue::embedded(),
        Minor::new(1, 33),
        at(0),
    );
    Outcome {
        generation: Some(3),
        upgrade: Some(upgrade),
        resolution: Some(resolution),
        ..Outcome::default()
    }
}

const ARRIVING: Version = Version::new(1, 6, 0);

fn working(step: Step) -> Outcome {
    let work = Work {
        step,
        wait: Some(Wait {
            reason: step.reason(),
            object: "DaemonSet applink-system/ztunnel".into(),
            message: "1 of 2 pods are ready".into(),
        }),
        to: Some(ARRIVING),
        revision: Some("1-6-0-3fa9c1".into()),
        nodes: Some(RolloutNodes {
            total: 2,
            updated: 1,
            ..RolloutNodes::default()
        }),
    };
    Outcome {
        progress: Progress::Working(work),
        ..resolved(pinned("1.6"), None)
    }
}

fn component(name: &str, serves: bool) -> Component {
    let status = ComponentStatus {
        name: name.into(),
        desired: 2,
        updated: 2,
        ready: if serves { 2 } else { 1 },
        ..ComponentStatus::default()
    };
    Component { status, serves }
}

fn settled() -> Outcome {
    Outcome {
        progress: Progress::Settled {
            version: ARRIVING,
            istio: Version::new(1, 31, 0),
        },
        components: Some(vec![component("istiod", true), component("ztunnel", true)]),
        membership: Some(MembershipStatus {
            namespaces: 1,
            enrolled: 4,
            meshed: 4,
            ..MembershipStatus::default()
        }),
        ..resolved(pinned("1.6"), None)
    }
}

fn blocked() -> Finding {
    Finding {
        code: Code::ForeignZtunnel,
        severity: Severity::Block,
        object: "DaemonSet a/ztunnel".into(),
        message: "it is somebody else's".into(),
        remedy: "remove it".into(),
    }
}

fn condition(status: &MeshMemberStatus, kind: ConditionType) -> Option<&Condition> {
    status
        .conditions
        .iter()
        .find(|condition| condition.type_ == kind.as_str())
}

/// `Type=Status/Reason`, sorted.
fn summary(status: &MeshMemberStatus) -> Vec<String> {
    let mut lines: Vec<String> = status
        .conditions
        .iter()
        .map(|one| format!("{}={}/{}", one.type_, one.status, one.reason))
        .collect();
    lines.sort();
    lines
}

fn installed() -> MeshMemberStatus {
    let first = next(None, &working(Step::Nodes), at(0));
    next(Some(&first), &settled(), at(30))
}
