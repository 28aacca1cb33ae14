//! A status is bounded whatever was seen.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::api::conditions::Reason;
use crate::api::v1alpha1::{
    AvailableUpgrade, CertificateStatus, LeaveStage, LeaveStatus, MAX_COMPONENTS, MAX_HISTORY,
    MAX_MESSAGE, MAX_NAME, NodeFailure, PlatformStatus,
};
use crate::status::{Failure, Problem};

/// No status is larger than this, in bytes of JSON: far below the API server's limit for an object.
const LIMIT: usize = 192 * 1024;

fn long() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("x".repeat(5000)),
        Just("\u{1F980}\"\\\n".repeat(2000)),
        ".{0,40}"
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn a_status_is_bounded_whatever_was_seen(
        texts in vec(long(), 1..12),
        many in 0usize..120,
        step in 0usize..3,
        rounds in 1usize..14,
    ) {
        let text = |number: usize| texts[number % texts.len()].clone();
        let names = || (0..many).map(text).collect::<Vec<_>>();
        let mut old: Option<MeshMemberStatus> = None;
        for round in 0..rounds {
            let work = Work {
                step: Step::Nodes,
                wait: Some(Wait { reason: Reason::Nodes, object: text(0), message: text(1) }),
                to: Some(ARRIVING),
                revision: Some(format!("{round}{}", text(2))),
                nodes: Some(RolloutNodes {
                    current: names(),
                    failed: (0..many).map(|number| NodeFailure { name: text(number), reason: text(number + 1) }).collect(),
                    ..RolloutNodes::default()
                }),
            };
            let finding = Finding { message: text(3), remedy: text(4), object: text(5), ..blocked() };
            let outcome = Outcome {
                cluster_uid: Some(text(1)),
                kubernetes_version: Some(text(2)),
                platform: Some(PlatformStatus { name: text(3), evidence: text(4) }),
                progress: match (step + round) % 3 {
                    0 => Progress::Working(work),
                    1 => Progress::Unknown,
                    _ => Progress::Settled { version: Version::new(1, 6, u16::try_from(round).unwrap()), istio: ARRIVING },
                },
                components: Some((0..many).map(|number| Component {
                    status: ComponentStatus { name: text(number), version: Some(text(number)), message: Some(text(number)), ..ComponentStatus::default() },
                    serves: number % 2 == 0,
                }).collect()),
                certificates: Some((0..many).map(|number| CertificateStatus { what: text(number), fingerprint: text(number), not_after: None }).collect()),
                available_upgrades: Some((0..many).map(|number| AvailableUpgrade { version: text(number), istio_version: text(number), channels: names(), fixes: 1 }).collect()),
                membership: Some(MembershipStatus { namespaces: 1, enrolled_names: names(), broken: names(), ..MembershipStatus::default() }),
                findings: vec![finding; many],
                failure: Some(Failure { reason: Reason::Refused, message: text(6), is_terminal: round % 2 == 0 }),
                leave: Some(LeaveStatus {
                    stages: (0..many).map(|number| LeaveStage { name: text(number), since: Time(at(0)) }).collect(),
                    swept: true,
                    left: names(),
                }),
                leave_blocked: Some(Problem { reason: Reason::Leftovers, message: text(7) }),
                ..resolved(pinned("1.6"), None)
            };
            old = Some(next(old.as_ref(), &outcome, at(i64::try_from(round).unwrap())));
        }
        let status = old.unwrap();
        let size = serde_json::to_vec(&status).unwrap().len();
        prop_assert!(size <= LIMIT, "{size} bytes");
        prop_assert!(status.components.len() <= MAX_COMPONENTS);
        prop_assert!(status.history.len() <= MAX_HISTORY);
        prop_assert!(status.conditions.iter().all(|condition| condition.message.len() <= MAX_MESSAGE));
        prop_assert!(status.components.iter().all(|component| component.name.len() <= MAX_NAME));
        let mut seen = BTreeMap::new();
        for condition in &status.conditions {
            *seen.entry(condition.type_.clone()).or_insert(0) += 1;
        }
        prop_assert!(seen.values().all(|count| *count == 1));
        prop_assert_eq!(status.conditions.iter().any(|one| one.type_ == "Reconciling" && one.status != "True"), false);
    }
}
