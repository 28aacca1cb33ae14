//! The validating webhooks of Istio's configuration.
//!
//! istiod owns `caBundle` and `failurePolicy` of both: it fills in its certificate, and turns `Ignore` to `Fail` once it
//! has shown that it refuses what is wrong. The API server's own default is `Fail`, so the creating request alone says
//! `Ignore`: else nothing of Istio could be written until istiod runs.

use k8s_openapi::api::admissionregistration::v1::{
    RuleWithOperations, ServiceReference, ValidatingWebhook, ValidatingWebhookConfiguration,
    WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use serde_json::json;

use super::istiod;
use super::manifest::{Error, Manifest};
use super::meta::{self, Component};
use crate::blueprint::Blueprint;
use crate::names;

/// Groups that are validated.
const GROUPS: [&str; 4] = [
    "security.istio.io",
    "networking.istio.io",
    "telemetry.istio.io",
    "extensions.istio.io",
];

/// Name of the webhook configuration of one release: `istio-validator-1-6-0-applink-system`.
#[must_use]
pub fn name(blueprint: &Blueprint) -> String {
    format!(
        "istio-validator-{}-{}",
        blueprint.release.slug(),
        names::SYSTEM_NAMESPACE
    )
}

/// The release's own webhook, then the default one.
pub(super) fn objects(blueprint: &Blueprint) -> Result<Vec<Manifest>, Error> {
    Ok(vec![own(blueprint)?, default(blueprint)?])
}

/// The webhook for objects labelled with this release: shows that this istiod refuses what is wrong, before it becomes
/// the default.
///
/// # Errors
/// [`Error`] when it does not serialise.
pub fn own(blueprint: &Blueprint) -> Result<Manifest, Error> {
    let requirement = LabelSelectorRequirement {
        key: names::ISTIO_REVISION_LABEL.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![blueprint.release.slug()]),
    };
    let selector = LabelSelector {
        match_expressions: Some(vec![requirement]),
        ..LabelSelector::default()
    };
    configuration(
        blueprint,
        name(blueprint),
        "rev.validation.istio.io",
        Some(selector),
    )
}

/// The webhook for everything else. Its label also makes this release the default of unlabelled Gateways: it is applied
/// at the first install and moved in the step Finish, never in between.
///
/// # Errors
/// [`Error`] when it does not serialise.
pub fn default(blueprint: &Blueprint) -> Result<Manifest, Error> {
    configuration(
        blueprint,
        names::DEFAULT_VALIDATOR.to_owned(),
        "validation.istio.io",
        None,
    )
}

fn configuration(
    blueprint: &Blueprint,
    name: String,
    webhook: &str,
    objects: Option<LabelSelector>,
) -> Result<Manifest, Error> {
    let texts = |values: &[&str]| {
        Some(
            values
                .iter()
                .map(|&value| value.to_owned())
                .collect::<Vec<_>>(),
        )
    };
    let metadata = meta::with_labels(
        istiod::revisioned(blueprint, meta::cluster(blueprint, Component::Istiod, name)),
        [("istio", names::ISTIOD)],
    );
    let manifest = Manifest::of(&ValidatingWebhookConfiguration {
        metadata,
        webhooks: Some(vec![ValidatingWebhook {
            name: webhook.to_owned(),
            admission_review_versions: vec!["v1".to_owned()],
            client_config: WebhookClientConfig {
                service: Some(ServiceReference {
                    name: istiod::name(blueprint),
                    namespace: names::SYSTEM_NAMESPACE.to_owned(),
                    path: Some("/validate".to_owned()),
                    ..ServiceReference::default()
                }),
                ..WebhookClientConfig::default()
            },
            object_selector: objects,
            rules: Some(vec![RuleWithOperations {
                api_groups: texts(&GROUPS),
                api_versions: texts(&["*"]),
                operations: texts(&["CREATE", "UPDATE"]),
                resources: texts(&["*"]),
                ..RuleWithOperations::default()
            }]),
            side_effects: "None".to_owned(),
            ..ValidatingWebhook::default()
        }]),
    })?;
    Ok(manifest.with_initial(json!({"webhooks": [{"failurePolicy": "Ignore"}]})))
}
