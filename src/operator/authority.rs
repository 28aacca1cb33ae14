//! The network's root and the member's intermediate: what is decided in `trust`, done here.
//!
//! A Secret that exists is never written over.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use tracing::info;

use super::apply::limited;
use super::error::Error;
use super::world::{Keys, World};
use crate::names;
use crate::status::Failure;
use crate::trust::decision::Pair;
use crate::trust::{Authority, Certificate, Decision, Found, Intermediate, Recorded, decide};

/// The authorities in use.
#[derive(Clone, Debug, PartialEq)]
pub struct Authorities {
    /// The network's root.
    pub root: Certificate,
    /// The member's intermediate.
    pub intermediate: Certificate,
}

/// Name of the root's Secret.
pub fn root_name(network: &str) -> String {
    format!("{}{network}", names::ROOT_SECRET_PREFIX)
}

/// The root of a network as it is found.
pub fn root(world: &World, network: &str) -> Found<Certificate> {
    match world.home.all().get(&root_name(network)).map(AsRef::as_ref) {
        Some(Keys::Root(read)) => Some(read.clone()).into(),
        _ => Found::Nothing,
    }
}

fn pair(world: &World) -> Found<Pair> {
    match world
        .cacerts
        .all()
        .get(names::CACERTS_SECRET)
        .map(AsRef::as_ref)
    {
        Some(Keys::Pair(read)) => Some(
            read.clone()
                .map(|(intermediate, root, _)| Pair { intermediate, root }),
        )
        .into(),
        _ => Found::Nothing,
    }
}

/// What would be done, without doing it; the problem when nothing may be.
pub fn decided(world: &World, network: &str, recorded: &Recorded) -> Decision {
    decide(network, recorded, &root(world, network), &pair(world))
}

/// Makes what is missing. Returns the authorities in use, or why nothing may be made.
pub async fn ensure(
    client: &Client,
    world: &World,
    network: &str,
    member: &str,
    recorded: &Recorded,
    now: Timestamp,
) -> Result<Result<Authorities, Failure>, Error> {
    let minted = match decided(world, network, recorded) {
        Decision::Keep(pair) => {
            return Ok(Ok(Authorities {
                root: pair.root,
                intermediate: pair.intermediate,
            }));
        }
        Decision::Stalled(problem) => {
            return Ok(Err(Failure {
                reason: crate::api::conditions::Reason::RootMissing,
                message: problem.to_string(),
                is_terminal: true,
            }));
        }
        Decision::MintBoth => {
            let root = Authority::mint(network, now)?;
            create(
                client,
                names::OPERATOR_NAMESPACE,
                &root_name(network),
                None,
                root.secret_data(),
            )
            .await?;
            info!(
                network,
                fingerprint = root.certificate.fingerprint.as_str(),
                "made a root"
            );
            root
        }
        Decision::MintIntermediate => read(client, network, now).await?,
    };
    let own = Intermediate::mint(member, &minted, now)?;
    create(
        client,
        names::SYSTEM_NAMESPACE,
        names::CACERTS_SECRET,
        Some(member),
        own.secret_data(),
    )
    .await?;
    info!(
        member,
        fingerprint = own.certificate.fingerprint.as_str(),
        "made an intermediate"
    );
    Ok(Ok(Authorities {
        root: own.root.clone(),
        intermediate: own.certificate,
    }))
}

/// The member's intermediate is there. It is the first thing that an install makes and the last that a leave deletes: an
/// operator that was stopped in between knows by it that there is something to leave.
pub async fn is_there(client: &Client, member: &str) -> Result<bool, Error> {
    let api: Api<Secret> = Api::namespaced(client.clone(), names::SYSTEM_NAMESPACE);
    let object = format!(
        "Secret {}/{}",
        names::SYSTEM_NAMESPACE,
        names::CACERTS_SECRET
    );
    let secret = limited("read", object, api.get_metadata_opt(names::CACERTS_SECRET)).await?;
    Ok(secret
        .and_then(|secret| secret.metadata.labels)
        .is_some_and(|labels| labels.get(names::MEMBER_LABEL).map(String::as_str) == Some(member)))
}

/// The root with its key.
async fn read(client: &Client, network: &str, now: Timestamp) -> Result<Authority, Error> {
    let name = root_name(network);
    let api: Api<Secret> = Api::namespaced(client.clone(), names::OPERATOR_NAMESPACE);
    let secret = limited(
        "read",
        format!("Secret {}/{name}", names::OPERATOR_NAMESPACE),
        api.get(&name),
    )
    .await?;
    let data = secret
        .data
        .unwrap_or_default()
        .into_iter()
        .map(|(key, value)| (key, value.0))
        .collect();
    Authority::read(&data, now).map_err(|defect| crate::trust::Error::Root(defect).into())
}

async fn create(
    client: &Client,
    namespace: &str,
    name: &str,
    member: Option<&str>,
    data: BTreeMap<String, Vec<u8>>,
) -> Result<(), Error> {
    let mut labels = BTreeMap::from([(
        names::MANAGED_BY_LABEL.to_owned(),
        names::MANAGED_BY.to_owned(),
    )]);
    if let Some(member) = member {
        labels.insert(names::MEMBER_LABEL.to_owned(), member.to_owned());
    }
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        data: Some(
            data.into_iter()
                .map(|(key, value)| (key, ByteString(value)))
                .collect(),
        ),
        ..Secret::default()
    };
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let object = format!("Secret {namespace}/{name}");
    // The right to create is bound to the name, which a plain create request does not carry: so it is asked for first, and
    // then applied without force. Only one operator acts at a time.
    if limited("read", &object, api.get_metadata_opt(name))
        .await?
        .is_some()
    {
        // Made in between, by an operator before us or by a restore: the next pass reads it.
        return Err(Error::Appeared { object });
    }
    let params = PatchParams::apply(names::FIELD_MANAGER);
    limited(
        "create",
        &object,
        api.patch(name, &params, &Patch::Apply(&secret)),
    )
    .await
    .map(|_| ())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::apply::tests::{server, status};
    use super::*;

    #[tokio::test]
    async fn an_intermediate_is_there_when_it_is_this_members() {
        let secret = |label: &'static str| {
            let meta = json!({"name": "cacerts", "labels": {names::MEMBER_LABEL: label}});
            let body = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": meta});
            (200, body)
        };
        let mut gone = status(404, "not found").1;
        gone["reason"] = "NotFound".into();
        for (answer, expected) in [
            (secret("east"), true),
            (secret("west"), false),
            ((404, gone), false),
        ] {
            let (client, _) = server(move |_, _| answer.clone());
            assert_eq!(is_there(&client, "east").await.unwrap(), expected);
        }
        let (client, _) = server(|_, _| status(503, "busy"));
        assert!(is_there(&client, "east").await.is_err(), "not known");
    }
}
