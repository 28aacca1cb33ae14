//! The mesh on the local cluster: images in place, the operator installed by its own manifests,
//! one member, and the shop to send traffic through. The demonstration and the tests share it.

use std::future::Future;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use applink::api::v1alpha1::MeshMember;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};

use crate::built;
use crate::cluster::{self, Cluster, Options};
use crate::command;
use crate::images::{self, Image};
use crate::progress::Progress;

/// How often a condition is looked at while it is waited for.
const BEAT: Duration = Duration::from_millis(250);

/// How long the operator in the cluster may take to go.
const GONE: Duration = Duration::from_mins(1);

/// Names another build of `applink` for the node proxies of releases: an operator drives older ones, too.
const PROXY: &str = "APPLINK_PROXY_BIN";

/// What can go wrong on stage.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// An image.
    #[error(transparent)]
    Image(#[from] images::Error),
    /// A program that was run.
    #[error(transparent)]
    Command(#[from] command::Error),
    /// The API server.
    #[error("the API server refused to {doing}: {source}")]
    Api {
        /// What was tried.
        doing: String,
        /// Its answer.
        source: Box<kube::Error>,
    },
    /// The program under test is not there.
    #[error(transparent)]
    Program(#[from] built::Missing),
    /// A wait was in vain.
    #[error("{what} did not happen within {} s; last seen: {last}", within.as_secs())]
    Deadline {
        /// What was waited for.
        what: String,
        /// How long.
        within: Duration,
        /// What was there instead.
        last: String,
    },
}

/// The cluster and what stands on it.
pub struct Stage {
    /// The cluster.
    pub cluster: Cluster,
    /// An administrator's client.
    pub client: kube::Client,
    /// The `applink` binary, the same one as in the image.
    pub applink: PathBuf,
}

/// A rollout that does not watch each wave for minutes.
pub fn quick() -> Value {
    json!({
        "canary": {"type": "Count", "count": 1, "soak": "0s"},
        "batch": {"size": 1, "soak": "0s"},
        "drain": {"timeout": "10s"},
    })
}

/// The image of the node proxy in releases.
fn proxy() -> Image {
    if std::env::var_os(PROXY).is_some() {
        Image::Proxy
    } else {
        Image::Applink
    }
}

/// The program of the node proxies of releases.
///
/// # Errors
/// [`Error::Program`] when there is no such file.
pub fn proxy_program() -> Result<PathBuf, Error> {
    if std::env::var_os(PROXY).is_some() {
        Ok(built::program("applink", PROXY)?)
    } else {
        Ok(built::applink()?)
    }
}

/// How long to wait after a look that took so long: who looks by starting programs does not keep the machine busy with that,
/// and on a busy machine nobody does.
fn pause(took: Duration) -> Duration {
    (took * 3).clamp(BEAT, 4 * BEAT)
}

/// Waits until `look` finds something. `Err` of `look` is what is there instead, kept for the message.
///
/// # Errors
/// [`Error::Deadline`] with what was last seen.
pub async fn eventually<T, F>(
    what: &str,
    within: Duration,
    mut look: impl FnMut() -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, String>>,
{
    let deadline = Instant::now() + within;
    loop {
        let begun = Instant::now();
        match look().await {
            Ok(found) => return Ok(found),
            Err(last) if Instant::now() >= deadline => {
                return Err(Error::Deadline {
                    what: what.to_owned(),
                    within,
                    last,
                });
            }
            Err(_) => tokio::time::sleep(pause(begun.elapsed())).await,
        }
    }
}

impl Stage {
    /// Brings the cluster up (or takes the one that runs) and gives every node the images.
    ///
    /// # Errors
    /// When a program is missing, an image cannot be made or the cluster does not come up.
    pub async fn up(options: &Options, progress: Progress) -> Result<Self, Error> {
        let applink = built::applink()?;
        let shop = built::shop()?;
        let mut cluster = Cluster::up(options, progress).await?;
        let mut images = vec![
            (Image::Pilot, None),
            (Image::InstallCni, None),
            (Image::Applink, Some(applink.as_path())),
            (Image::Shop, Some(shop.as_path())),
        ];
        let proxy = proxy_program()?;
        if std::env::var_os(PROXY).is_some() {
            images.push((Image::Proxy, Some(proxy.as_path())));
        }
        if std::env::var_os("UPSTREAM_ZTUNNEL").is_some() {
            images.push((Image::UpstreamZtunnel, None));
        }
        for (image, binary) in images {
            let archive = image.build(binary, progress)?;
            cluster.load(&archive)?;
        }
        progress.say("every node has the images");
        let client = cluster.client().await?;
        Ok(Self {
            cluster,
            client,
            applink,
        })
    }

    /// Runs the CLI under test against the cluster.
    ///
    /// # Errors
    /// With what it printed, when it fails.
    pub fn applink(&self, arguments: &[&str]) -> Result<String, Error> {
        let mut command = Command::new(&self.applink);
        command
            .env("KUBECONFIG", self.cluster.kubeconfig())
            .args(arguments);
        Ok(command::output(&mut command)?)
    }

    /// Applies the operator's own manifests with the local image.
    ///
    /// # Errors
    /// When the manifests cannot be printed or are refused.
    pub fn install_operator(&self) -> Result<(), Error> {
        let manifests = self.applink(&["install", "--image", &Image::Applink.reference()])?;
        self.cluster.apply(&manifests)?;
        Ok(())
    }

    /// Takes the operator in the cluster away, by the same manager as ever, so that the next apply is no conflict; returns
    /// when no pod of it is left.
    ///
    /// # Errors
    /// When the manifests are refused or a pod stays.
    pub async fn stop_operator(&self) -> Result<(), Error> {
        let manifests = self.applink(&["install", "--image", &Image::Applink.reference()])?;
        // Over those of `applink install --apply`, which a test may have run.
        (self.cluster).apply_over(&manifests.replace("replicas: 1\n", "replicas: 0\n"))?;
        eventually("the operator in the cluster is gone", GONE, || async {
            let pods = (self.cluster)
                .kubectl(&["get", "pods", "-n", "applink-operator", "-o", "name"])
                .map_err(|error| command::chain(&error))?;
            if pods.trim().is_empty() {
                Ok(())
            } else {
                Err(pods)
            }
        })
        .await
    }

    /// A release of that version whose images are the local ones; Istio is the one that can be built here.
    pub fn release(version: &str, channels: &[&str]) -> Value {
        let image = |image: Image| {
            let reference = image.reference();
            let (repository, tag) = reference.rsplit_once(':').unwrap_or((&reference, "dev"));
            json!({"repository": repository, "tag": tag})
        };
        let channels: Vec<Value> = channels
            .iter()
            .map(|name| json!({"name": name, "since": "2026-09-01T00:00:00Z"}))
            .collect();
        json!({
            "apiVersion": "applink.dev/v1alpha1", "kind": "MeshRelease",
            "metadata": {"name": version},
            "spec": {
                "istioVersion": crate::programs::ISTIO,
                "kubernetes": {"min": "1.32", "max": "1.36"},
                "gatewayAPI": "1.6.0",
                "released": "2026-08-31",
                "channels": channels,
                "images": {
                    "pilot": image(Image::Pilot),
                    "install-cni": image(Image::InstallCni),
                    "applink": image(proxy()),
                    "ztunnel": image(Image::UpstreamZtunnel),
                },
            },
        })
    }

    /// A member of that name with that spec.
    pub fn member(name: &str, spec: &Value) -> Value {
        json!({
            "apiVersion": "applink.dev/v1alpha1", "kind": "MeshMember",
            "metadata": {"name": name}, "spec": spec,
        })
    }

    /// Applies an object.
    ///
    /// # Errors
    /// With the server's words, when it refuses.
    pub fn apply(&self, object: &Value) -> Result<(), Error> {
        self.cluster.apply(&object.to_string())?;
        Ok(())
    }

    /// The member as it is now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn read_member(&self, name: &str) -> Result<MeshMember, Error> {
        Api::all(self.client.clone())
            .get(name)
            .await
            .map_err(|source| Error::Api {
                doing: format!("read MeshMember {name}"),
                source: Box::new(source),
            })
    }

    /// Waits until a condition of the member has that status for its newest spec.
    ///
    /// # Errors
    /// [`Error::Deadline`] with the conditions that were there instead.
    pub async fn until_condition(
        &self,
        member: &str,
        condition: &str,
        status: &str,
        within: Duration,
    ) -> Result<MeshMember, Error> {
        let what = format!("MeshMember {member} {condition}={status}");
        eventually(&what, within, || async move {
            let found = self
                .read_member(member)
                .await
                .map_err(|error| command::chain(&error))?;
            let generation = found.metadata.generation;
            let conditions = found
                .status
                .as_ref()
                .map_or(&[][..], |status| &status.conditions);
            let holds = conditions.iter().any(|held| {
                held.type_ == condition
                    && held.status == status
                    && held.observed_generation == generation
            });
            if holds {
                return Ok(found);
            }
            Err(conditions
                .iter()
                .map(|held| {
                    format!(
                        "{}={} {}: {}",
                        held.type_, held.status, held.reason, held.message
                    )
                })
                .collect::<Vec<_>>()
                .join("; "))
        })
        .await
    }

    /// Waits until every pod of a namespace that `selector` chooses is Ready, and at least one is there.
    ///
    /// # Errors
    /// [`Error::Deadline`] with the phases that were there instead.
    pub async fn until_pods_ready(
        &self,
        namespace: &str,
        selector: &str,
        within: Duration,
    ) -> Result<(), Error> {
        let pods: Api<k8s_openapi::api::core::v1::Pod> =
            Api::namespaced(self.client.clone(), namespace);
        let parameters = ListParams::default().labels(selector);
        eventually(&format!("pods {selector} Ready"), within, || async {
            let list = pods
                .list(&parameters)
                .await
                .map_err(|error| error.to_string())?;
            let states: Vec<(String, bool)> = list
                .items
                .iter()
                .map(|pod| {
                    let ready = pod.status.as_ref().is_some_and(|status| {
                        status.conditions.iter().flatten().any(|condition| {
                            condition.type_ == "Ready" && condition.status == "True"
                        })
                    });
                    (pod.metadata.name.clone().unwrap_or_default(), ready)
                })
                .collect();
            if !states.is_empty() && states.iter().all(|(_, ready)| *ready) {
                Ok(())
            } else {
                Err(format!("{states:?}"))
            }
        })
        .await
    }

    /// Runs a program in a pod and returns what it printed, whether it succeeded or not.
    ///
    /// # Errors
    /// Never for the program's own failure; the flag says it.
    pub fn exec(&self, namespace: &str, pod: &str, program: &[&str]) -> (bool, String) {
        let mut arguments = vec!["exec", "-n", namespace, pod, "--"];
        arguments.extend(program);
        match self.cluster.kubectl(&arguments) {
            Ok(text) => (true, text),
            Err(error) => (false, command::chain(&error)),
        }
    }
}

/// A pod of the shop with its Service, pinned to a node: `name` serves on 8080 and asks `next`, if any.
pub fn shop(namespace: &str, name: &str, node: &str, next: Option<&str>) -> Value {
    let mut environment = vec![
        json!({"name": "SHOP_NAME", "value": name}),
        json!({"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}),
    ];
    environment.extend(next.map(|url| json!({"name": "SHOP_NEXT", "value": url})));
    let labels = json!({"app": name});
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": name, "namespace": namespace},
        },
        {
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": {
                "serviceAccountName": name,
                "nodeSelector": {"kubernetes.io/hostname": node},
                "terminationGracePeriodSeconds": 1,
                "containers": [{
                    "name": "shop", "image": Image::Shop.reference(), "args": ["serve"],
                    "env": environment,
                    "ports": [{"containerPort": 8080}],
                    "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
                }],
            },
        },
        {
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"selector": labels, "ports": [{"name": "http", "port": 8080}]},
        },
    ]})
}

/// An object with more fields, or others in their place.
#[must_use]
pub fn with(mut object: Value, more: &Value) -> Value {
    if let (Value::Object(object), Value::Object(more)) = (&mut object, more) {
        object.extend(more.clone());
    }
    object
}

/// A namespace with labels.
pub fn namespace(name: &str, labels: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}
