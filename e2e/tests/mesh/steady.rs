//! A mesh that is up: quiet when nothing changes, quick to repair what does.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use e2e::audit::{self, Entry};
use e2e::stage::{self, Stage};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::fixture::{OPERATOR, PATIENT, installed, on_stage, operator};
use crate::running::data_plane;
use crate::told::until_healed;

/// How long the operator is watched doing nothing.
const QUIET: Duration = Duration::from_mins(1);

/// How often a watch may be begun in that time: the server ends one when it likes.
const MOST_WATCHES: usize = 2;

/// How long a repair may take, from the last change to be repaired.
const REPAIR: Duration = Duration::from_secs(10);

const CONFIG: &str = "configmap/istio-1-6-0";
const ISTIOD: &str = "deployment/istiod-1-6-0";
const VALIDATOR: &str = "validatingwebhookconfiguration/istiod-default-validator";

/// What kubectl prints of the data plane's namespace.
fn in_system(stage: &Stage, arguments: &[&str]) -> Result<String, String> {
    let arguments = [arguments, &["-n", "applink-system"]].concat();
    let answer = stage.cluster.kubectl(&arguments);
    answer.map_err(|error| e2e::command::chain(&error))
}

/// The default validator: a label of ours, and what is istiod's: the policy and the authority.
fn validator(stage: &Stage) -> Result<String, String> {
    let columns = r"jsonpath={.metadata.labels.app\.kubernetes\.io/part-of} {.webhooks[*].failurePolicy} {.webhooks[*].clientConfig.caBundle}";
    in_system(stage, &["get", VALIDATOR, "-o", columns])
}

/// The default validator once istiod has shown that it refuses what is wrong.
async fn until_it_validates(stage: &Stage) -> String {
    stage::eventually("istiod validates", PATIENT, || async {
        let found = validator(stage)?;
        let bundle = found.strip_prefix("applink Fail ");
        let is_there = bundle.is_some_and(|bundle| !bundle.is_empty());
        is_there.then(|| found.clone()).ok_or(found)
    })
    .await
    .unwrap()
}

/// Pods of both node components by node and component: their uid, and an own setting of each.
fn on_nodes(stage: &Stage) -> Vec<(String, String, String)> {
    let list = in_system(stage, &["get", "pods", "-o", "json"]).unwrap();
    let list: Value = serde_json::from_str(&list).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut all: Vec<_> = (list["items"].as_array().into_iter().flatten())
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        .filter_map(|pod| {
            let container = &pod["spec"]["containers"][0];
            let name = match text(&container["name"]).as_str() {
                "istio-proxy" => "RUST_LOG",
                "install-cni" => "EXCLUDE_NAMESPACES",
                _ => return None,
            };
            let mut set = container["env"].as_array().into_iter().flatten();
            let value = &set.find(|one| one["name"] == name)?["value"];
            let place = format!(
                "{} {}",
                text(&pod["spec"]["nodeName"]),
                text(&container["name"])
            );
            Some((place, text(&pod["metadata"]["uid"]), text(value)))
        })
        .collect();
    all.sort();
    all
}

/// What a webhook or an administrator may add to istiod's pods, and take away again.
fn added(is_there: bool) -> Value {
    let variable = if is_there {
        json!({"name": "THEIRS", "value": "1"})
    } else {
        json!({"name": "THEIRS", "$patch": "delete"})
    };
    json!({"spec": {"template": {
        "metadata": {"annotations": {"example.com/theirs": is_there.then_some("1")}},
        "spec": {"containers": [{"name": "discovery", "env": [variable]}]},
    }}})
}

/// Others take part: an autoscaler of istiod, which raises what runs to its least without any metrics, and somebody who adds
/// to its template. Then another operator takes over.
async fn others_take_part(stage: &Stage) {
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "istiod-1-6-0"});
    let object = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "theirs", "namespace": "applink-system"},
        "spec": {"scaleTargetRef": target, "minReplicas": 3, "maxReplicas": 4},
    });
    stage.apply(&object).unwrap();
    let patch = added(true).to_string();
    in_system(
        stage,
        &["patch", ISTIOD, "--field-manager=injector", "-p", &patch],
    )
    .unwrap();
    stage::eventually("istiod is as others want it", PATIENT, || async {
        let istiod = istiod(stage)?;
        let status = &istiod["status"];
        let ready = (
            &status["readyReplicas"],
            &status["updatedReplicas"],
            &status["replicas"],
        );
        let done = is_theirs(&istiod) && ready == (&json!(3), &json!(3), &json!(3));
        done.then_some(()).ok_or_else(|| format!("{status}"))
    })
    .await
    .unwrap();
    let pods = ["delete", "pods", "-n", "applink-operator", "--all"];
    stage.cluster.kubectl(&pods).unwrap();
    operator(stage).await;
}

fn istiod(stage: &Stage) -> Result<Value, String> {
    let text = in_system(stage, &["get", ISTIOD, "-o", "json"])?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

fn is_theirs(istiod: &Value) -> bool {
    let template = &istiod["spec"]["template"];
    let mut set = (template["spec"]["containers"][0]["env"]
        .as_array()
        .into_iter())
    .flatten();
    istiod["spec"]["replicas"] == 3
        && template["metadata"]["annotations"]["example.com/theirs"] == "1"
        && set.any(|one| one["name"] == "THEIRS")
}

/// The autoscaler goes, and with it what somebody added: the spec decides again.
async fn others_leave(stage: &Stage) {
    in_system(stage, &["delete", "hpa", "theirs"]).unwrap();
    let patch = added(false).to_string();
    in_system(
        stage,
        &["patch", ISTIOD, "--field-manager=injector", "-p", &patch],
    )
    .unwrap();
    stage::eventually("the spec decides again", PATIENT, || async {
        let istiod = istiod(stage)?;
        let status = &istiod["status"];
        let counts = (
            &istiod["spec"]["replicas"],
            &status["readyReplicas"],
            &status["replicas"],
        );
        let done = counts == (&json!(2), &json!(2), &json!(2));
        done.then_some(()).ok_or_else(|| format!("{counts:?}"))
    })
    .await
    .unwrap();
}

#[test]
fn in_a_steady_state_what_others_added_stays_and_the_operator_asks_for_nothing_but_its_lease() {
    on_stage(|stage| async move {
        installed(stage).await;
        let validates = until_it_validates(stage).await;
        others_take_part(stage).await;
        let log = stage.cluster.audit_log();
        let asked_since = |since: Timestamp| -> Vec<Entry> {
            let mut entries = audit::entries(&log, OPERATOR).unwrap();
            entries.retain(|entry| entry.at > since && entry.resource != "leases");
            entries
        };
        // Watches end by the clock of the server and are begun again.
        let is_watch = |entry: &Entry| entry.verb == "watch";
        // What an install still has to say (Events, status) ends within seconds.
        let mut since = Timestamp::now();
        let settled = since + Duration::from_mins(1);
        while Timestamp::now() < since + Duration::from_secs(10) {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if !asked_since(since).iter().all(is_watch) && Timestamp::now() < settled {
                since = Timestamp::now();
            }
        }
        tokio::time::sleep(QUIET).await;
        let (begun, busy): (Vec<Entry>, Vec<Entry>) =
            asked_since(since).into_iter().partition(is_watch);
        assert_eq!(busy, []);
        // Nor does it begin watches again and again: each lasts for minutes.
        let mut watches: BTreeMap<String, usize> = BTreeMap::new();
        for entry in &begun {
            *watches.entry(entry.to_string()).or_default() += 1;
        }
        watches.retain(|_, count| *count > MOST_WATCHES);
        assert_eq!(watches, BTreeMap::new());
        let istiod = istiod(stage).unwrap();
        assert!(is_theirs(&istiod), "{istiod}");
        assert_eq!(validator(stage).unwrap(), validates);
        others_leave(stage).await;
    });
}

#[test]
fn what_somebody_changed_or_deleted_is_repaired_within_seconds() {
    on_stage(|stage| async move {
        installed(stage).await;
        until_healed(stage).await;
        until_it_validates(stage).await;
        let before = data_plane(stage);
        let look = || -> Result<[String; 6], String> {
            let image = "jsonpath={.spec.template.spec.containers[0].image}";
            let ours = "applink.dev/member";
            Ok([
                in_system(stage, &["get", "service", "-l", "app=istiod", "-o", "name"])?,
                in_system(
                    stage,
                    &["get", "clusterrolebinding", "-l", ours, "-o", "name"],
                )?,
                in_system(stage, &["get", CONFIG, "-o", "jsonpath={.data.mesh}"])?,
                in_system(stage, &["get", ISTIOD, "-o", image])?,
                in_system(stage, &["get", "ds", "istio-cni-node", "-o", "name"])?,
                validator(stage)?,
            ])
        };
        let wanted = look().unwrap();
        let clock = Instant::now();
        for all in &wanted[..2] {
            in_system(stage, &["delete", all.lines().next().unwrap()]).unwrap();
        }
        let touched = json!({"data": {"mesh": format!("{}\n# touched", wanted[2])}}).to_string();
        in_system(stage, &["patch", CONFIG, "--type=merge", "-p", &touched]).unwrap();
        in_system(
            stage,
            &["set", "image", ISTIOD, "discovery=localhost:1/theirs"],
        )
        .unwrap();
        let theirs = [
            "label",
            VALIDATOR,
            "app.kubernetes.io/part-of=theirs",
            "--overwrite",
        ];
        in_system(stage, &theirs).unwrap();
        // Its pods stay, and are taken over by the one that is made in its place.
        let orphan = ["delete", "ds", "istio-cni-node", "--cascade=orphan"];
        in_system(stage, &orphan).unwrap();
        stage::eventually("everything is back", REPAIR, || async {
            let found = look()?;
            (found == wanted)
                .then_some(())
                .ok_or_else(|| format!("{found:?}"))
        })
        .await
        .unwrap();
        eprintln!("repaired in {:.1} s", clock.elapsed().as_secs_f64());
        until_healed(stage).await;
        stage::eventually("the same pods run", PATIENT, || async {
            let found = data_plane(stage);
            (found == before).then_some(()).ok_or(found)
        })
        .await
        .unwrap();
    });
}

#[test]
fn pods_that_started_from_a_template_that_somebody_had_edited_are_replaced_and_no_others() {
    on_stage(|stage| async move {
        installed(stage).await;
        until_healed(stage).await;
        let before = on_nodes(stage);
        assert_eq!(before.len(), 4, "{before:?}");
        // So that nothing is repaired before a pod of each has started.
        stage.stop_operator().await.unwrap();
        let proxies = ["get", "ds", "-l", "app=ztunnel", "-o", "name"];
        let proxies = in_system(stage, &proxies).unwrap().trim().to_owned();
        for (set, setting, label, node) in [
            (proxies.as_str(), "RUST_LOG=warn", "app=ztunnel", "node-1"),
            (
                "ds/istio-cni-node",
                "EXCLUDE_NAMESPACES=theirs",
                "k8s-app=istio-cni-node",
                "node-2",
            ),
        ] {
            in_system(stage, &["set", "env", set, setting]).unwrap();
            let on_node = format!("--field-selector=spec.nodeName={node}");
            in_system(stage, &["delete", "pods", "-l", label, &on_node]).unwrap();
        }
        stage::eventually("both started from what was edited", PATIENT, || async {
            let found = on_nodes(stage);
            let edited = found.iter().filter(|one| !before.contains(one));
            let is_edited =
                |one: &(String, String, String)| ["warn", "theirs"].contains(&one.2.as_str());
            let done =
                found.len() == 4 && edited.clone().count() == 2 && edited.clone().all(is_edited);
            done.then_some(()).ok_or_else(|| format!("{found:?}"))
        })
        .await
        .unwrap();
        for label in ["app=ztunnel", "k8s-app=istio-cni-node"] {
            (stage
                .until_pods_ready("applink-system", label, PATIENT)
                .await)
                .unwrap();
        }
        let clock = Instant::now();
        operator(stage).await;
        let settings = |all: &[(String, String, String)]| -> Vec<(String, String)> {
            all.iter()
                .map(|one| (one.0.clone(), one.2.clone()))
                .collect()
        };
        stage::eventually("both run what they should", PATIENT, || async {
            let found = on_nodes(stage);
            let done = settings(&found) == settings(&before);
            done.then_some(()).ok_or_else(|| format!("{found:?}"))
        })
        .await
        .unwrap();
        eprintln!("replaced in {:.1} s", clock.elapsed().as_secs_f64());
        until_healed(stage).await;
        let after = on_nodes(stage);
        let kept: Vec<&str> = (after.iter().filter(|one| before.contains(one)))
            .map(|one| one.0.as_str())
            .collect();
        assert_eq!(kept, ["node-1 install-cni", "node-2 istio-proxy"]);
        let tainted =
            stage
                .cluster
                .kubectl(&["get", "nodes", "-o", "jsonpath={.items[*].spec.taints}"]);
        assert!(!tainted.unwrap().contains("applink.dev/moving"));
    });
}
