//! `version`: this program's and, when a cluster answers, the operator's.

use std::process::ExitCode;

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;

use super::{Failure, block_on, connect, manifests, print};
use crate::names;

/// Arguments of `version`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this program's version; asks no cluster
    #[arg(long)]
    client: bool,
}

/// Prints both; a cluster that does not answer is a line, not an error.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: &Args, cluster: &connect::Flags) -> Result<ExitCode, Failure> {
    let mut text = format!("client: {}\n", env!("CARGO_PKG_VERSION"));
    if !args.client {
        let operator = match block_on(operator_image(cluster)) {
            Ok(image) => image,
            Err(failure) => format!("unknown ({}: {})", failure.what, failure.reason),
        };
        text = format!("{text}operator: {operator}\n");
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

async fn operator_image(cluster: &connect::Flags) -> Result<String, Failure> {
    let client = connect::client(cluster).await?;
    let api: Api<Deployment> = Api::namespaced(client, names::OPERATOR_NAMESPACE);
    let what = format!(
        "read deployment {}/{}",
        names::OPERATOR_NAMESPACE,
        manifests::OPERATOR
    );
    let deployment = api
        .get(manifests::OPERATOR)
        .await
        .map_err(|error| Failure::of_kube(&what, &error))?;
    Ok(image_version(&deployment))
}

/// The version of the image when it has a tag, else the whole image.
fn image_version(deployment: &Deployment) -> String {
    let image = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.template.spec.as_ref())
        .and_then(|pod| pod.containers.first())
        .and_then(|container| container.image.clone())
        .unwrap_or_default();
    let name = image.rsplit('/').next().unwrap_or_default();
    match name.split('@').next().and_then(|name| name.split_once(':')) {
        Some((_, tag)) => format!("{tag} ({image})"),
        None => image,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operators_version_is_the_tag_of_its_image() {
        let cases = [
            (
                "registry.example:5000/applink:0.1.0",
                "0.1.0 (registry.example:5000/applink:0.1.0)",
            ),
            (
                "registry.example:5000/applink",
                "registry.example:5000/applink",
            ),
            ("applink:0.2.0@sha256:00", "0.2.0 (applink:0.2.0@sha256:00)"),
        ];
        for (image, expected) in cases {
            let deployment = serde_json::from_value(serde_json::json!({
                "spec": {"selector": {}, "template": {"spec": {"containers": [{"name": "operator", "image": image}]}}},
            }))
            .unwrap();
            assert_eq!(image_version(&deployment), expected);
        }
    }
}
