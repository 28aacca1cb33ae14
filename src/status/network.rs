//! The next status of an `ApplicationNetwork`.

use jiff::Timestamp;

use super::bounds;
use super::conditions::{Conditions, Verdict};
use super::outcome::Failure;
use crate::api::conditions::{ConditionType, Reason};
use crate::api::v1alpha1::{ApplicationNetworkStatus, MemberCounts, MeshMember, RootCertificate};

/// What the operator knows about a network after a pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NetworkOutcome {
    /// `metadata.generation` of the spec the pass acted on.
    pub generation: Option<i64>,
    /// Its members, counted; see [`count`].
    pub members: MemberCounts,
    /// Its root; `None` while there is none.
    pub root: Option<RootCertificate>,
    /// What failed.
    pub failure: Option<Failure>,
}

/// The members of a network, by their conditions.
pub fn count<'a>(network: &str, members: impl IntoIterator<Item = &'a MeshMember>) -> MemberCounts {
    let mut counts = MemberCounts::default();
    for member in members
        .into_iter()
        .filter(|member| member.spec.effective_network() == network)
    {
        counts.total = counts.total.saturating_add(1);
        counts.ready = counts
            .ready
            .saturating_add(i32::from(holds(member, ConditionType::Ready)));
        counts.up_to_date = counts
            .up_to_date
            .saturating_add(i32::from(holds(member, ConditionType::UpToDate)));
    }
    counts
}

fn holds(member: &MeshMember, kind: ConditionType) -> bool {
    let conditions = member
        .status
        .as_ref()
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default();
    conditions
        .iter()
        .any(|condition| condition.type_ == kind.as_str() && condition.status == "True")
}

/// What a network reports after a pass, from what it reported before.
pub fn next_network(
    old: Option<&ApplicationNetworkStatus>,
    outcome: &NetworkOutcome,
    now: Timestamp,
) -> ApplicationNetworkStatus {
    let mut status = old.cloned().unwrap_or_default();
    status.observed_generation = outcome.generation.or(status.observed_generation);
    status.members = Some(outcome.members);
    if let Some(root) = &outcome.root {
        status.root_certificate = Some(RootCertificate {
            fingerprint: bounds::name(&root.fingerprint),
            not_after: root.not_after.clone(),
        });
    }
    let mut conditions = Conditions::from(&status.conditions, status.observed_generation, now);
    conditions.set(
        ConditionType::Accepted,
        &Verdict::is_true(Reason::Valid, "the spec is valid"),
    );
    conditions.set(ConditionType::Ready, &ready(&status, outcome));
    let terminal = outcome
        .failure
        .as_ref()
        .filter(|failure| failure.is_terminal);
    let passing = outcome
        .failure
        .as_ref()
        .filter(|failure| !failure.is_terminal);
    conditions.set_or_remove(
        ConditionType::Stalled,
        terminal.map(|failure| Verdict::is_true(failure.reason, &failure.message)),
    );
    conditions.set_or_remove(
        ConditionType::Reconciling,
        passing.map(|failure| {
            Verdict::is_true(
                Reason::Retrying,
                format!("{}: {}", failure.reason, failure.message),
            )
        }),
    );
    status.conditions = conditions.into_vec();
    status
}

/// A network is ready when its root is there and every member serves.
fn ready(status: &ApplicationNetworkStatus, outcome: &NetworkOutcome) -> Verdict {
    if let Some(failure) = &outcome.failure {
        return Verdict::is_false(failure.reason, &failure.message);
    }
    let MemberCounts { total, ready, .. } = outcome.members;
    if status.root_certificate.is_none() {
        Verdict::is_false(
            Reason::Installing,
            "the root certificate has not been made yet",
        )
    } else if ready < total {
        Verdict::is_false(
            Reason::ComponentUnavailable,
            format!("{ready} of {total} members serve"),
        )
    } else {
        Verdict::is_true(Reason::Serving, format!("{ready} of {total} members serve"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::v1alpha1::MeshMemberSpec;
    use crate::status::{Component, Outcome, Progress, next};

    fn outcome(total: i32, ready: i32) -> NetworkOutcome {
        let root = RootCertificate {
            fingerprint: "ab".into(),
            not_after: None,
        };
        NetworkOutcome {
            generation: Some(1),
            members: MemberCounts {
                total,
                ready,
                up_to_date: ready,
            },
            root: Some(root),
            failure: None,
        }
    }

    fn ready_reason(status: &ApplicationNetworkStatus) -> String {
        let ready = status
            .conditions
            .iter()
            .find(|condition| condition.type_ == "Ready")
            .unwrap();
        format!("{}/{}: {}", ready.status, ready.reason, ready.message)
    }

    #[test]
    fn a_network_is_ready_with_its_root_and_all_its_members() {
        let without_root = NetworkOutcome {
            root: None,
            ..outcome(1, 0)
        };
        let now = Timestamp::UNIX_EPOCH;
        assert!(
            ready_reason(&next_network(None, &without_root, now)).starts_with("False/Installing")
        );
        assert_eq!(
            ready_reason(&next_network(None, &outcome(2, 1), now)),
            "False/ComponentUnavailable: 1 of 2 members serve"
        );
        let good = next_network(None, &outcome(2, 2), now);
        assert_eq!(ready_reason(&good), "True/Serving: 2 of 2 members serve");
        assert_eq!(
            next_network(
                Some(&good),
                &NetworkOutcome {
                    root: None,
                    ..outcome(2, 2)
                },
                now
            ),
            good
        );
    }

    #[test]
    fn a_terminal_failure_stalls_the_network() {
        let failure = Failure {
            reason: Reason::RootMissing,
            message: "restore it".into(),
            is_terminal: true,
        };
        let status = next_network(
            None,
            &NetworkOutcome {
                failure: Some(failure),
                ..outcome(1, 1)
            },
            Timestamp::UNIX_EPOCH,
        );
        assert!(
            status
                .conditions
                .iter()
                .any(|condition| condition.type_ == "Stalled" && condition.reason == "RootMissing")
        );
    }

    #[test]
    fn members_are_counted_by_network_and_condition() {
        let version = crate::catalogue::Version::new(1, 6, 0);
        let settled = Outcome {
            progress: Progress::Settled {
                version,
                istio: version,
            },
            components: Some(vec![Component {
                serves: true,
                ..Component::default()
            }]),
            ..Outcome::default()
        };
        let mut ready = MeshMember::new("a", MeshMemberSpec::default());
        ready.status = Some(next(None, &settled, Timestamp::UNIX_EPOCH));
        let fresh = MeshMember::new("b", MeshMemberSpec::default());
        let other = MeshMember::new(
            "c",
            MeshMemberSpec {
                application_network: Some("other".into()),
                ..MeshMemberSpec::default()
            },
        );
        assert_eq!(
            count("default", [&ready, &fresh, &other]),
            MemberCounts {
                total: 2,
                ready: 1,
                up_to_date: 1
            }
        );
    }
}
