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
        Verdict::is_true(Reason::Valid, "the spec is valid"),
    );
    conditions.set(ConditionType::Ready, ready(&status, outcome));
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
