//! Waypoints in an upgrade, by what the real istiods make of their Gateways. No pod of a waypoint runs: there is no image
//! of Envoy, and who makes the Deployment behind a Gateway tells which release has it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use e2e::stage::{self, Stage};
use futures::StreamExt as _;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::runtime::watcher::{Config, Event, watcher};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::fixture::{INSTALL, MEMBER, PATIENT, on_stage, remove_namespace};
use crate::upgrades::overlap::{NODES, assert_disturbed_once};
use crate::upgrades::releases::{assert_retired, bare, over, pinned, release, until_runs};
use crate::upgrades::watched::Watched;

const NAMESPACE: &str = "gateways";
const OLD: &str = "1-6-0";
const NEW: &str = "1-7-0";
const REVISION: &str = "/metadata/labels/istio.io~1rev";
const PIN: &str = "/metadata/annotations/applink.dev~1pinned";
/// The release whose istiod made a Deployment, and the istiod that its pods are to ask.
const MADE_BY: &str = "/spec/template/metadata/annotations/istio.io~1rev";
/// Its label is the default: what names no release follows it.
const VALIDATOR: &str = "istiod-default-validator";

fn kind(group: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource {
        group: group.to_owned(),
        version: "v1".to_owned(),
        api_version: format!("{group}/v1"),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

fn gateways() -> ApiResource {
    kind("gateway.networking.k8s.io", "Gateway", "gateways")
}

fn deployments() -> ApiResource {
    kind("apps", "Deployment", "deployments")
}

fn validators() -> ApiResource {
    kind(
        "admissionregistration.k8s.io",
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
    )
}

fn api(stage: &Stage, kind: &ApiResource) -> Api<DynamicObject> {
    if kind.kind == "ValidatingWebhookConfiguration" {
        return Api::all_with(stage.client.clone(), kind);
    }
    Api::namespaced_with(stage.client.clone(), NAMESPACE, kind)
}

fn gateway(name: &str, class: &str, labels: &Value, ports: &[u16]) -> Value {
    let listeners: Vec<Value> = ports
        .iter()
        .map(|port| {
            let name = if *port == 15008 {
                "mesh".to_owned()
            } else {
                format!("p-{port}")
            };
            let protocol = if *port == 15008 { "HBONE" } else { "HTTP" };
            json!({"name": name, "port": port, "protocol": protocol})
        })
        .collect();
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
        "spec": {"gatewayClassName": class, "listeners": listeners},
    })
}

fn text<'a>(body: &'a Value, pointer: &str) -> &'a str {
    body.pointer(pointer).and_then(Value::as_str).unwrap_or("-")
}

/// What an object said, with the version at which it began to say so. The API server counts all kinds alike, so versions
/// tell what was written before what.
type Course = Vec<(u64, String)>;

/// What became of Gateways, of the Deployments behind them and of the default, by watches.
struct Trace {
    seen: Arc<Mutex<BTreeMap<String, Course>>>,
    _tasks: JoinSet<()>,
}

impl Trace {
    fn start(stage: &Stage) -> Self {
        let seen: Arc<Mutex<BTreeMap<String, Course>>> = Arc::default();
        let mut tasks = JoinSet::new();
        for (kind, pointers) in [
            (gateways(), vec![REVISION, PIN]),
            (deployments(), vec![MADE_BY]),
            (validators(), vec![REVISION]),
        ] {
            let seen = Arc::clone(&seen);
            let api = api(stage, &kind);
            tasks.spawn(async move {
                let mut events = watcher(api, Config::default()).boxed();
                while let Some(event) = events.next().await {
                    let Ok(Event::Apply(object) | Event::InitApply(object)) = event else {
                        continue;
                    };
                    let body = serde_json::to_value(&object).unwrap();
                    let version = text(&body, "/metadata/resourceVersion").parse().unwrap();
                    let says: Vec<&str> = pointers.iter().map(|one| text(&body, one)).collect();
                    let says = says.join(" ");
                    let key = format!("{} {}", kind.kind, text(&body, "/metadata/name"));
                    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    let course = seen.entry(key).or_default();
                    if course.last().is_none_or(|(_, last)| *last != says) {
                        course.push((version, says));
                    }
                }
            });
        }
        Self {
            seen,
            _tasks: tasks,
        }
    }

    fn of(&self, key: &str) -> Course {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(key).cloned().unwrap_or_default()
    }

    /// What it said, in order.
    fn says(&self, key: &str) -> Vec<String> {
        self.of(key).into_iter().map(|(_, says)| says).collect()
    }

    /// When it began to say this.
    fn at(&self, key: &str, says: &str) -> u64 {
        let course = self.of(key);
        let found = course.iter().rev().find(|(_, one)| one == says);
        found
            .unwrap_or_else(|| panic!("{key} never said {says}: {course:?}"))
            .0
    }
}

/// Waits until the istiod of a release has made the Deployment and the Service of a Gateway as it asks now, and says in
/// its status that it has.
async fn until_made(stage: &Stage, name: &str, by: &str) {
    stage::eventually(&format!("{name} is made by {by}"), PATIENT, || async {
        let read = |kind: ApiResource| async move {
            let found = api(stage, &kind).get(name).await;
            found
                .map_err(|error| error.to_string())
                .map(|object| serde_json::to_value(&object).unwrap_or_default())
        };
        let gateway = read(gateways()).await?;
        let deployment = read(deployments()).await?;
        let service = read(ApiResource {
            api_version: "v1".to_owned(),
            ..kind("", "Service", "services")
        })
        .await?;
        let ports = |list: &Value| -> Vec<i64> {
            let all = list.as_array().into_iter().flatten();
            all.filter_map(|one| one["port"].as_i64())
                .filter(|port| *port != 15021)
                .collect()
        };
        let generation = &gateway["metadata"]["generation"];
        let is_programmed = gateway["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|one| {
                one["type"] == "Programmed"
                    && one["status"] == "True"
                    && one["observedGeneration"] == *generation
            });
        let asks = format!("istiod-{by}.applink-system.svc");
        let wanted = is_programmed
            && text(&deployment, MADE_BY) == by
            && deployment["spec"].to_string().contains(&asks)
            && ports(&service["spec"]["ports"]) == ports(&gateway["spec"]["listeners"]);
        if wanted {
            return Ok(());
        }
        Err(format!(
            "{} {} {}",
            text(&deployment, MADE_BY),
            gateway["status"],
            service["spec"]
        ))
    })
    .await
    .unwrap();
}

async fn label(stage: &Stage, name: &str, value: Option<&str>) {
    let body = json!({"metadata": {"labels": {"istio.io/rev": value}}});
    let params = PatchParams {
        field_manager: Some("a-user".to_owned()),
        ..PatchParams::default()
    };
    let api = api(stage, &gateways());
    api.patch(name, &params, &Patch::Merge(&body))
        .await
        .unwrap();
}

/// The end of the old release is held, by this Gateway alone, and status says so.
async fn until_held_by(stage: &Stage, name: &str) {
    stage::eventually("the old release is held", INSTALL, || async {
        let member = stage
            .read_member(MEMBER)
            .await
            .map_err(|error| error.to_string())?;
        let status = member.status.unwrap_or_default();
        let told = status
            .conditions
            .iter()
            .find(|one| one.type_ == "Reconciling" && one.reason == "RevisionInUse");
        let is_named = told.is_some_and(|one| {
            one.message.contains(&format!("Gateway {NAMESPACE}/{name}"))
                && one.message.contains("1 objects carry")
        });
        if is_named {
            return Ok(());
        }
        Err(format!("{:?} {:#?}", status.rollout, status.conditions))
    })
    .await
    .unwrap();
}

#[test]
fn waypoints_change_hands_after_the_default_and_one_that_names_the_old_release_holds_its_end() {
    on_stage(|stage| async move {
        remove_namespace(stage, NAMESPACE).await;
        let mut releases = bare(stage).await;
        releases.push(release(stage, "1.7.0", &["Rapid"]));
        stage.apply(&Stage::member(MEMBER, &pinned("1.6"))).unwrap();
        until_runs(stage, "1.6.0").await;
        let users = Watched::full(stage, "gateways-users", &NODES).await;
        stage
            .apply(&stage::namespace(NAMESPACE, &json!({})))
            .unwrap();
        let trace = Trace::start(stage);
        let user = json!({"istio.io/rev": OLD});
        for (name, class, labels) in [
            ("first", "istio-waypoint", json!({})),
            ("second", "istio-waypoint", json!({})),
            ("kept", "istio-waypoint", user),
            // `labels: {}` is owned by whoever applied it, which a pin has to get along with.
            ("other", "somebody-elses", json!({})),
        ] {
            stage
                .apply(&gateway(name, class, &labels, &[15008]))
                .unwrap();
        }
        for name in ["first", "second", "kept"] {
            until_made(stage, name, OLD).await;
        }

        stage.apply(&Stage::member(MEMBER, &pinned("1.7"))).unwrap();
        until_held_by(stage, "kept").await;
        // Both istiods run, and each does what its Gateways ask for.
        for (name, labels) in [("first", json!({})), ("kept", json!({"istio.io/rev": OLD}))] {
            let more = gateway(name, "istio-waypoint", &labels, &[15008, 8080]);
            stage.apply(&more).unwrap();
        }
        until_made(stage, "first", NEW).await;
        until_made(stage, "second", NEW).await;
        until_made(stage, "kept", OLD).await;

        label(stage, "kept", None).await;
        until_made(stage, "kept", NEW).await;
        until_runs(stage, "1.7.0").await;
        assert_retired(stage, "1.6.0");
        assert_disturbed_once(&users.end().await, 1);

        let default = format!("ValidatingWebhookConfiguration {VALIDATOR}");
        assert_eq!(trace.says(&default), [OLD, NEW]);
        let moved = trace.at(&default, NEW);
        let mut given_back = Vec::new();
        for name in ["first", "second"] {
            let key = format!("Gateway {name}");
            assert_eq!(trace.says(&key), ["- -", "1-6-0 1-6-0", "- -"], "{name}");
            let (to, back) = (trace.at(&key, "1-6-0 1-6-0"), trace.at(&key, "- -"));
            let key = format!("Deployment {name}");
            // The pin and its end replace nothing: the Deployment changes hands once.
            assert_eq!(trace.says(&key), [OLD, NEW], "{name}");
            let made = trace.at(&key, NEW);
            assert!(
                to < moved && moved < back && back < made,
                "{name}: pinned {to}, default moved {moved}, given back {back}, made anew {made}"
            );
            given_back.push(back);
        }
        assert!(given_back.is_sorted(), "{given_back:?}");
        assert_eq!(trace.says("Gateway kept"), ["1-6-0 -", "- -"]);
        assert_eq!(trace.says("Gateway other"), ["- -"]);

        // Pods that never ran would keep their namespace for as long as it takes them to end.
        for kinds in [
            "gateways.gateway.networking.k8s.io",
            "deployments,replicasets,pods",
        ] {
            let delete = ["delete", kinds, "--all", "-n", NAMESPACE];
            let at_once = ["--grace-period=0", "--force"];
            stage
                .cluster
                .kubectl(&[&delete[..], &at_once].concat())
                .unwrap();
        }
        remove_namespace(stage, NAMESPACE).await;
        over(stage, &releases).await;
    });
}
