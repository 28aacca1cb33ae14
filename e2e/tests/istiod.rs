//! A real istiod on our objects: with the environment and the rights they give it, and nothing else.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on stops"
)]

#[path = "../../tests/desired/case.rs"]
mod case;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use applink::desired::{Manifest, crds, rbac};
use applink::trust::{Authority, Intermediate};
use e2e::control_plane::ControlPlane;
use e2e::programs::{self, Module};
use e2e::progress::Progress;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

const USER: &str = "system:serviceaccount:applink-system:istiod";

/// A running istiod; ended and its folder removed when dropped.
struct Istiod {
    process: Child,
    folder: PathBuf,
}

impl Drop for Istiod {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Istiod {
    /// Starts it as the Deployment says, on ports of its own choice, with this kubeconfig and these authorities.
    fn start(deployment: &Value, kubeconfig: &Path, cacerts: &BTreeMap<String, Vec<u8>>) -> Self {
        let program = programs::build(Module::Istio, Progress::new())
            .unwrap()
            .join("pilot-discovery");
        let folder = e2e::process::temporary_folder("istiod").unwrap();
        let authorities = folder.join("cacerts");
        std::fs::create_dir(&authorities).unwrap();
        for (name, value) in cacerts {
            std::fs::write(authorities.join(name), value).unwrap();
        }
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let mut command = Command::new(program);
        for argument in container["args"].as_array().unwrap() {
            let argument = argument.as_str().unwrap();
            command.arg(if argument.starts_with("--monitoringAddr") {
                "--monitoringAddr=127.0.0.1:0"
            } else {
                argument
            });
        }
        for flag in ["httpAddr", "httpsAddr", "grpcAddr", "secureGRPCAddr"] {
            command.arg(format!("--{flag}=127.0.0.1:0"));
        }
        command
            .arg("--ctrlz_port=0")
            .arg("--kubeconfig")
            .arg(kubeconfig);
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("ROOT_CA_DIR", &authorities);
        for variable in container["env"].as_array().unwrap() {
            let value = match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
                Some("metadata.name") => "istiod-1-6-0-abc",
                Some("metadata.namespace") => "applink-system",
                Some("spec.serviceAccountName") => "istiod",
                _ => match variable["value"].as_str() {
                    Some(value) => value,
                    None => continue,
                },
            };
            command.env(variable["name"].as_str().unwrap(), value);
        }
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let process = command
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { process, folder }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

fn api(client: &Client, manifest: &Manifest) -> Api<DynamicObject> {
    match &manifest.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &manifest.resource),
        None => Api::all_with(client.clone(), &manifest.resource),
    }
}

async fn apply(client: &Client, manifest: &Manifest) {
    let params = PatchParams::apply("applink.dev/meshmember").force();
    let body = manifest.body_to_create();
    let patched = api(client, manifest)
        .patch(&manifest.name, &params, &Patch::Apply(&body))
        .await;
    patched.unwrap_or_else(|error| panic!("{}: {error}", manifest.display_name()));
}

fn named(
    client: &Client,
    group: &str,
    version: &str,
    kind: &str,
    namespace: Option<&str>,
) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

/// The object, once it is as wanted.
async fn eventually(
    istiod: &Istiod,
    api: &Api<DynamicObject>,
    name: &str,
    wanted: impl Fn(&Value) -> bool,
) -> Value {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let found = api
            .get_opt(name)
            .await
            .unwrap()
            .map(|object| serde_json::to_value(object).unwrap());
        if let Some(object) = found.as_ref().filter(|object| wanted(object)) {
            return object.clone();
        }
        assert!(
            Instant::now() < deadline,
            "{name} is not as wanted: {found:?}\n{}",
            istiod.log()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn module(name: &str) -> PathBuf {
    let output = Command::new("go")
        .args(["mod", "download", "-json", name])
        .current_dir(Module::Istio.source())
        .output()
        .unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    PathBuf::from(said["Dir"].as_str().unwrap())
}

async fn prepare(client: &Client, objects: &[Manifest]) {
    for folder in [
        module("istio.io/api").join("kubernetes"),
        module("sigs.k8s.io/gateway-api").join("config/crd/standard"),
    ] {
        for definition in crds::bundled(&folder).unwrap() {
            apply(client, &definition.unwrap().manifest).await;
        }
    }
    for role in rbac::cluster_roles() {
        apply(client, &Manifest::of(&role).unwrap()).await;
    }
    for object in objects {
        apply(client, object).await;
    }
}

#[tokio::test]
async fn istiod_starts_signs_with_our_authority_and_renders_waypoints_with_the_rights_it_is_given()
{
    let plane = ControlPlane::start().await.unwrap();
    let client = plane.client().await.unwrap();
    let objects = case::Case::read(&case::folders()["base"]).objects();
    prepare(&client, &objects).await;
    let now = Timestamp::now();
    let root = Authority::mint("campus", now).unwrap();
    let cacerts = Intermediate::mint("edge-1", &root, now)
        .unwrap()
        .secret_data();
    let kubeconfig = plane.kubeconfig_as(USER, None).unwrap();
    let deployment = objects
        .iter()
        .find(|object| object.resource.kind == "Deployment")
        .unwrap();
    let istiod = Istiod::start(&deployment.body, &kubeconfig, &cacerts);

    // It distributes the root we minted, so it signs with our intermediate.
    let maps = named(&client, "", "v1", "ConfigMap", Some("default"));
    let map = eventually(&istiod, &maps, "istio-ca-root-cert", |map| {
        map["data"]["root-cert.pem"].is_string()
    })
    .await;
    let expected = String::from_utf8(cacerts["root-cert.pem"].clone()).unwrap();
    assert_eq!(
        map["data"]["root-cert.pem"].as_str().unwrap().trim(),
        expected.trim()
    );

    // It fills in both webhooks.
    let webhooks = named(
        &client,
        "admissionregistration.k8s.io",
        "v1",
        "ValidatingWebhookConfiguration",
        None,
    );
    for name in [
        "istiod-default-validator",
        "istio-validator-1-6-0-applink-system",
    ] {
        eventually(&istiod, &webhooks, name, |webhook| {
            webhook["webhooks"][0]["clientConfig"]["caBundle"].is_string()
        })
        .await;
    }

    // It renders a Gateway without any revision label from our template, with our defaults.
    let classes = named(
        &client,
        "gateway.networking.k8s.io",
        "v1",
        "GatewayClass",
        None,
    );
    eventually(&istiod, &classes, "istio-waypoint", |_| true).await;
    let gateway = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "waypoint", "namespace": "default", "labels": {"istio.io/waypoint-for": "service"}},
        "spec": {
            "gatewayClassName": "istio-waypoint",
            "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}],
        },
    });
    let gateways = named(
        &client,
        "gateway.networking.k8s.io",
        "v1",
        "Gateway",
        Some("default"),
    );
    gateways
        .create(
            &kube::api::PostParams::default(),
            &serde_json::from_value(gateway).unwrap(),
        )
        .await
        .unwrap();
    let deployments = named(&client, "apps", "v1", "Deployment", Some("default"));
    let waypoint = eventually(&istiod, &deployments, "waypoint", |_| true).await;
    assert_eq!(waypoint["spec"]["replicas"], 2);
    assert_eq!(
        waypoint["metadata"]["labels"]["gateway.istio.io/managed"],
        "istio.io-mesh-controller"
    );
    let labels = &waypoint["spec"]["template"]["metadata"]["labels"];
    assert_eq!(labels["topology.istio.io/network"], "edge-1");
    assert_eq!(labels["istio.io/dataplane-mode"], "none");
    let environment = waypoint["spec"]["template"]["spec"]["containers"][0]["env"]
        .as_array()
        .unwrap();
    let value = |name: &str| {
        environment
            .iter()
            .find(|variable| variable["name"] == name)
            .unwrap()["value"]
            .as_str()
            .unwrap()
    };
    let proxy_config: Value = serde_json::from_str(value("PROXY_CONFIG")).unwrap();
    assert_eq!(
        proxy_config["discoveryAddress"],
        "istiod-1-6-0.applink-system.svc:15012"
    );
    assert_eq!(value("ISTIO_META_NETWORK"), "edge-1");
    let services = named(&client, "", "v1", "Service", Some("default"));
    let service = eventually(&istiod, &services, "waypoint", |_| true).await;
    let ports: Vec<_> = service["spec"]["ports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|port| port["port"].as_i64().unwrap())
        .collect();
    assert_eq!(ports, [15021, 15008]);
    let budgets = named(
        &client,
        "policy",
        "v1",
        "PodDisruptionBudget",
        Some("default"),
    );
    let budget = eventually(&istiod, &budgets, "waypoint", |_| true).await;
    assert_eq!(budget["spec"]["minAvailable"], 1);

    let log = istiod.log();
    let refused: Vec<_> = log
        .lines()
        .filter(|line| line.contains("forbidden") || line.contains("error rendering"))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}
