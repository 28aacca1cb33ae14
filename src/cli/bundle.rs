//! `support-bundle`: everything somebody needs to help, in one archive, and nothing secret.
//!
//! Secrets are never asked for; every object and every line passes [`redact`]. What cannot be read is listed in
//! `errors.txt` and the rest is still collected: a bundle is most wanted when something is broken.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Node, Pod};
use kube::api::{ListParams, LogParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::{Failure, block_on, connect, redact, snapshot, status, tar::Archive};
use crate::api::v1alpha1::{ApplicationNetwork, MeshMember, MeshRelease};
use crate::names;

/// Folder inside the archive.
const FOLDER: &str = "applink-bundle";
/// Last lines of each container's log.
const LOG_LINES: i64 = 5_000;
/// Most bytes of one log.
const LOG_BYTES: i64 = 2 << 20;
/// Most bytes of one configuration dump.
const DUMP_BYTES: u64 = 32 << 20;
/// Most objects of one kind that are written.
const OBJECTS: u32 = 2_000;
/// Most node proxies whose configuration is read; those that are not ready come first.
const DUMPS: usize = 10;
/// Pods that are read at a time.
const PARALLEL: usize = 8;
/// How long one log or dump may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Arguments of `support-bundle`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File to write
    #[arg(short, long, default_value = "applink-bundle.tar", value_name = "FILE")]
    output: PathBuf,
    /// Leave out logs
    #[arg(long)]
    no_logs: bool,
    /// Leave out the node proxies' configuration
    #[arg(long)]
    no_dumps: bool,
}

/// Collects and writes the archive.
///
/// # Errors
/// No cluster is configured, or the file cannot be written.
pub fn run(args: &Args, cluster: &connect::Flags) -> Result<ExitCode, Failure> {
    let contents = block_on(collect(args, cluster))?;
    let (files, errors) = (contents.files.len(), contents.errors.len());
    let bytes = contents.archive(Timestamp::now())?;
    std::fs::write(&args.output, bytes).map_err(|error| {
        Failure::new(
            format!("cannot write {}", args.output.display()),
            error.to_string(),
            "choose another file with --output",
        )
    })?;
    eprintln!(
        "{} written: {files} files, {errors} errors; no Secret was read, but look through it before you share it",
        args.output.display()
    );
    Ok(ExitCode::SUCCESS)
}

/// The files of a bundle, before they become an archive.
#[derive(Debug, Default)]
struct Contents {
    files: Vec<(String, String)>,
    errors: Vec<String>,
}

impl Contents {
    fn text(&mut self, name: impl Into<String>, text: &str) {
        self.files.push((name.into(), redact::text(text)));
    }

    fn failed(&mut self, failure: &Failure) {
        self.errors.push(failure.to_string());
    }

    /// Writes objects as a YAML stream, each without its secrets.
    fn objects<K: Serialize>(&mut self, name: &str, objects: &[K]) {
        let mut text = String::new();
        for object in objects {
            match serde_json::to_value(object)
                .map_err(|error| error.to_string())
                .and_then(yaml)
            {
                Ok(document) => {
                    text.push_str("---\n");
                    text.push_str(&document);
                }
                Err(error) => self.errors.push(format!("cannot write {name}: {error}")),
            }
        }
        self.files.push((name.to_owned(), text));
    }

    fn archive(self, now: Timestamp) -> Result<Vec<u8>, Failure> {
        let mut archive = Archive::new(now.as_second().unsigned_abs());
        let mut errors = self.errors;
        for (name, text) in &self.files {
            if let Err(error) = archive.add(&format!("{FOLDER}/{name}"), text.as_bytes()) {
                errors.push(error.to_string());
            }
        }
        let text = if errors.is_empty() {
            "none\n".to_owned()
        } else {
            errors.join("\n") + "\n"
        };
        archive
            .add(
                &format!("{FOLDER}/errors.txt"),
                redact::text(&text).as_bytes(),
            )
            .map_err(|error| {
                Failure::new(
                    "cannot make the archive",
                    error.to_string(),
                    "this is a defect of applink; please report it",
                )
            })?;
        Ok(archive.finish())
    }
}

fn yaml(mut value: Value) -> Result<String, String> {
    redact::object(&mut value);
    serde_saphyr::to_string(&value).map_err(|error| error.to_string())
}

async fn collect(args: &Args, cluster: &connect::Flags) -> Result<Contents, Failure> {
    let client = connect::client(cluster).await?;
    let mut contents = Contents::default();
    let now = Timestamp::now();
    match client.apiserver_version().await {
        Ok(version) => contents.text("about.txt", &about(now, &version.git_version)),
        Err(error) => {
            contents.text("about.txt", &about(now, "unknown"));
            contents.failed(&Failure::of_kube("read the version of Kubernetes", &error));
        }
    }
    match snapshot::read(&client).await {
        Ok(snapshot) => contents.text("status.txt", &status::render(&snapshot, now)),
        Err(failure) => contents.failed(&failure),
    }
    everywhere::<MeshMember>(&mut contents, &client, "meshmembers").await;
    everywhere::<ApplicationNetwork>(&mut contents, &client, "applicationnetworks").await;
    everywhere::<MeshRelease>(&mut contents, &client, "meshreleases").await;
    everywhere::<Node>(&mut contents, &client, "nodes").await;
    everywhere::<Namespace>(&mut contents, &client, "namespaces").await;
    for namespace in [names::OPERATOR_NAMESPACE, names::SYSTEM_NAMESPACE] {
        inside::<Deployment>(&mut contents, &client, namespace, "deployments").await;
        inside::<DaemonSet>(&mut contents, &client, namespace, "daemonsets").await;
        inside::<ConfigMap>(&mut contents, &client, namespace, "configmaps").await;
        inside::<Event>(&mut contents, &client, namespace, "events").await;
        let pods = inside::<Pod>(&mut contents, &client, namespace, "pods").await;
        if !args.no_logs {
            logs(&mut contents, &client, namespace, &pods).await;
        }
        if !args.no_dumps && namespace == names::SYSTEM_NAMESPACE {
            dumps(&mut contents, &client, &pods).await;
        }
    }
    // Events about objects without a namespace, ours among them, are kept in namespace default.
    inside::<Event>(&mut contents, &client, "default", "events").await;
    Ok(contents)
}

fn about(now: Timestamp, kubernetes: &str) -> String {
    format!(
        "applink {}\nkubernetes {kubernetes}\ncollected {now}\n",
        env!("CARGO_PKG_VERSION")
    )
}

async fn everywhere<K>(contents: &mut Contents, client: &Client, kind: &str)
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Serialize,
{
    let found = Api::<K>::all(client.clone())
        .list(&ListParams::default().limit(OBJECTS))
        .await;
    match found {
        Ok(list) => contents.objects(&format!("{kind}.yaml"), &list.items),
        Err(error) => contents.failed(&Failure::of_kube(&format!("list {kind}"), &error)),
    }
}

async fn inside<K>(contents: &mut Contents, client: &Client, namespace: &str, kind: &str) -> Vec<K>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Serialize,
{
    let found = Api::<K>::namespaced(client.clone(), namespace)
        .list(&ListParams::default().limit(OBJECTS))
        .await;
    match found {
        Ok(list) => {
            contents.objects(&format!("{namespace}/{kind}.yaml"), &list.items);
            list.items
        }
        Err(error) => {
            contents.failed(&Failure::of_kube(
                &format!("list {kind} in namespace {namespace}"),
                &error,
            ));
            Vec::new()
        }
    }
}

async fn logs(contents: &mut Contents, client: &Client, namespace: &str, pods: &[Pod]) {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let wanted: Vec<(String, String, bool)> = pods.iter().flat_map(log_streams).collect();
    let read = futures::stream::iter(wanted).map(|(pod, container, previous)| {
        let api = api.clone();
        async move {
            let params = LogParams {
                container: Some(container.clone()),
                previous,
                tail_lines: Some(LOG_LINES),
                limit_bytes: Some(LOG_BYTES),
                timestamps: true,
                ..LogParams::default()
            };
            let what = format!("read the log of {pod}/{container}");
            let answer = tokio::time::timeout(PATIENCE, api.logs(&pod, &params)).await;
            let name = format!(
                "{namespace}/logs/{pod}/{container}{}.log",
                if previous { ".previous" } else { "" }
            );
            (
                name,
                answer
                    .map_err(|_| late(&what))
                    .and_then(|text| text.map_err(|error| Failure::of_kube(&what, &error))),
            )
        }
    });
    let answers: Vec<_> = read.buffer_unordered(PARALLEL).collect().await;
    for (name, answer) in answers {
        match answer {
            Ok(text) => contents.text(name, &text),
            Err(failure) => contents.failed(&failure),
        }
    }
}

fn late(what: &str) -> Failure {
    Failure::new(
        format!("cannot {what}"),
        format!("no answer within {} s", PATIENCE.as_secs()),
        "look at the node of that pod",
    )
}

/// The logs a pod has: each container's, and the one before its last restart.
fn log_streams(pod: &Pod) -> Vec<(String, String, bool)> {
    let containers = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_deref())
        .unwrap_or_default();
    let mut streams = Vec::new();
    for container in containers {
        streams.push((pod.name_any(), container.name.clone(), false));
        if container.restart_count > 0 {
            streams.push((pod.name_any(), container.name.clone(), true));
        }
    }
    streams
}

async fn dumps(contents: &mut Contents, client: &Client, pods: &[Pod]) {
    let api: Api<Pod> = Api::namespaced(client.clone(), names::SYSTEM_NAMESPACE);
    let mut proxies: Vec<&Pod> = pods
        .iter()
        .filter(|pod| {
            pod.labels()
                .get("app")
                .is_some_and(|app| app == names::ZTUNNEL)
        })
        .collect();
    proxies.sort_by_key(|pod| (is_ready(pod), pod.name_any()));
    for pod in proxies.into_iter().take(DUMPS) {
        let name = pod.name_any();
        let what = format!("read the configuration of {name}");
        let answer = tokio::time::timeout(PATIENCE, dump(&api, &name)).await;
        match answer.map_err(|_| late(&what)).and_then(|answer| answer) {
            Ok(text) => match serde_json::from_str::<Value>(&text) {
                Ok(mut value) => {
                    redact::object(&mut value);
                    let pretty = serde_json::to_string_pretty(&value).unwrap_or_default();
                    contents.text(
                        format!("{}/config/{name}.json", names::SYSTEM_NAMESPACE),
                        &pretty,
                    );
                }
                Err(error) => contents
                    .errors
                    .push(format!("cannot {what}: it is no JSON: {error}")),
            },
            Err(failure) => contents.failed(&failure),
        }
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    conditions
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Asks a proxy's admin port, which listens on the pod's loopback only, through the API server.
async fn dump(api: &Api<Pod>, name: &str) -> Result<String, Failure> {
    let what = format!("read the configuration of {name}");
    let mut forward = api
        .portforward(name, &[names::ZTUNNEL_ADMIN_PORT])
        .await
        .map_err(|error| Failure::of_kube(&what, &error))?;
    let closed = || {
        Failure::new(
            format!("cannot {what}"),
            "the admin port does not answer",
            "look at the log of that pod",
        )
    };
    let mut stream = forward
        .take_stream(names::ZTUNNEL_ADMIN_PORT)
        .ok_or_else(closed)?;
    // HTTP/1.0: the answer is neither chunked nor kept alive, so it ends where the stream ends.
    stream
        .write_all(b"GET /config_dump HTTP/1.0\r\nHost: localhost\r\n\r\n")
        .await
        .map_err(|_| closed())?;
    let answer = read_all(&mut stream).await.map_err(|_| closed())?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(closed)?;
    if head.split(' ').nth(1) != Some("200") {
        return Err(Failure::new(
            format!("cannot {what}"),
            head.lines().next().unwrap_or_default(),
            "look at the log of that pod",
        ));
    }
    Ok(body.to_owned())
}

async fn read_all(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.take(DUMP_BYTES).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_secret_reaches_the_archive() {
        let mut contents = Contents::default();
        contents.objects("pods.yaml", &[json!({"kind": "Pod", "metadata": {"name": "web"}, "spec": {"env": [{"name": "TOKEN", "value": "hunter2"}]}})]);
        contents.objects("stray.yaml", &[json!({"kind": "Secret", "metadata": {"name": "cacerts"}, "data": {"ca-key.pem": "aHVudGVyMg=="}})]);
        contents.text(
            "a.log",
            "key: -----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n",
        );
        contents.failed(&Failure::new(
            "cannot read",
            "Bearer hunter2hunter2hunter2",
            "none",
        ));
        let bytes = contents
            .archive("2026-11-21T12:00:00Z".parse().unwrap())
            .unwrap();
        let text = String::from_utf8_lossy(&bytes);
        for secret in ["hunter2", "aHVudGVyMg"] {
            assert!(!text.contains(secret), "{secret} is in the archive");
        }
        for name in [
            "applink-bundle/pods.yaml",
            "applink-bundle/a.log",
            "applink-bundle/errors.txt",
        ] {
            assert!(text.contains(name), "{name} is not in the archive");
        }
    }

    #[test]
    fn a_restarted_container_gives_two_logs() {
        let pod: Pod = serde_json::from_value(
            json!({"metadata": {"name": "p"}, "status": {"containerStatuses": [
                {"name": "a", "image": "", "imageID": "", "ready": true, "restartCount": 0},
                {"name": "b", "image": "", "imageID": "", "ready": true, "restartCount": 2},
            ]}}),
        )
        .unwrap();
        let streams = log_streams(&pod);
        let expected = [("a", false), ("b", false), ("b", true)]
            .map(|(container, previous)| ("p".to_owned(), container.to_owned(), previous));
        assert_eq!(streams, expected);
    }
}
