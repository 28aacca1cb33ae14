//! Which of its rights the operator lacks, asked before it begins an install: a write that is refused in the middle would
//! leave half of one.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authorization::v1::{
    ResourceRule, SelfSubjectRulesReview, SelfSubjectRulesReviewSpec,
};
use kube::Client;
use kube::api::{Api, PostParams};
use tracing::warn;

use super::apply::limited;
use super::error::Error;
use super::pass::Operator;
use crate::api::v1alpha1::MeshMember;
use crate::facts::Denied;
use crate::rights::{lacking, needed};

/// How long what is missing is believed: no watch tells of a right that is given.
const AGAIN: SignedDuration = SignedDuration::from_secs(10);

/// What is known of the operator's rights.
#[derive(Clone, Debug, Default)]
pub struct Rights {
    lacking: Vec<Denied>,
    asked: Option<Timestamp>,
}

impl Rights {
    /// What is missing.
    pub fn lacking(&self) -> &[Denied] {
        &self.lacking
    }
}

impl Operator {
    /// Asks while something is to be installed: once, and again while something is missing. Returns when to ask next.
    pub(super) async fn look_at_rights(
        &mut self,
        members: &[MeshMember],
        now: Timestamp,
    ) -> Option<Timestamp> {
        let installs = |member: &MeshMember| {
            member.metadata.deletion_timestamp.is_none() && member.running_version().is_none()
        };
        if !members.iter().any(installs) {
            self.rights = Rights::default();
            return None;
        }
        let due = (self.rights.asked).is_none_or(|asked| {
            !self.rights.lacking.is_empty() && now.duration_since(asked) >= AGAIN
        });
        if due {
            match found(&self.client).await {
                Ok(lacking) => self.rights.lacking = lacking,
                // Who may not ask finds out as it goes.
                Err(error) => {
                    warn!(error = %super::chain(&error), "the operator's rights cannot be asked for");
                }
            }
            self.rights.asked = Some(now);
        }
        let missing = !self.rights.lacking.is_empty();
        self.rights
            .asked
            .filter(|_| missing)
            .and_then(|asked| asked.checked_add(AGAIN).ok())
    }
}

async fn found(client: &Client) -> Result<Vec<Denied>, Error> {
    let mut known: Vec<(&str, Option<Vec<ResourceRule>>)> = Vec::new();
    let mut all = Vec::new();
    for needed in needed() {
        let place = known.iter().position(|(name, _)| *name == needed.asked_in);
        let place = if let Some(place) = place {
            place
        } else {
            known.push((needed.asked_in, review(client, needed.asked_in).await?));
            known.len() - 1
        };
        if let Some(granted) = &known[place].1 {
            all.extend(lacking(&needed, granted));
        }
    }
    Ok(all)
}

/// The rights in a namespace; `None` when the API server cannot list them all, as with an authorizer that is asked for
/// each request.
async fn review(client: &Client, namespace: &str) -> Result<Option<Vec<ResourceRule>>, Error> {
    let api: Api<SelfSubjectRulesReview> = Api::all(client.clone());
    let review = SelfSubjectRulesReview {
        spec: SelfSubjectRulesReviewSpec {
            namespace: Some(namespace.to_owned()),
        },
        ..SelfSubjectRulesReview::default()
    };
    let object = format!("SelfSubjectRulesReview of {namespace}");
    let params = PostParams::default();
    let answer = limited("create", object, api.create(&params, &review)).await?;
    Ok(answer
        .status
        .filter(|status| !status.incomplete)
        .map(|status| status.resource_rules))
}
