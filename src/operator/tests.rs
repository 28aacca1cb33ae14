//! The whole loop, pass after pass, against an API server in memory. Time is an argument.

mod baseline;
mod conflicts;
mod fake;
mod gateways;
mod moves;
mod probe;
mod releases;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;
use http::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::events::Events;
use super::pass::Operator;
use super::report::Reporter;
use super::signals::{Placed, Signals};
use super::signing::Mesh;
use super::world::World;
use crate::facts::{Connections, Evidence};
use crate::metrics::Metrics;
use fake::{Asked, Fake};

const MEMBER: &str = "/apis/applink.dev/v1alpha1/meshmembers/east";
const NAMESPACE: &str = "/api/v1/namespaces/applink-system";
const CACERTS: &str = "/api/v1/namespaces/applink-system/secrets/cacerts";
const PULL: &str = "/api/v1/namespaces/applink-system/secrets/applink-pull";

/// Components that nobody can ask, but for an istiod that signs.
struct Silence {
    signs: bool,
}

impl Signals for Silence {
    fn control_plane<'a>(
        &'a self,
        _: &'a str,
        _: &'a Mesh,
    ) -> BoxFuture<'a, Result<Evidence, String>> {
        let signed = Evidence {
            good: true,
            ..Evidence::default()
        };
        let answer = Some(signed).filter(|_| self.signs);
        Box::pin(async { answer.ok_or_else(|| "nobody answers".to_owned()) })
    }
    fn served<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<BTreeSet<String>, String>> {
        Box::pin(async { Err("nobody answers".to_owned()) })
    }
    fn on_node<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<Placed>, String>> {
        Box::pin(async { Err("nobody answers".to_owned()) })
    }
    fn reconnect<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async { Err("nobody answers".to_owned()) })
    }
    fn stand_down<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Evidence, String>> {
        Box::pin(async { Err("nobody answers".to_owned()) })
    }
    fn uncertified<'a>(
        &'a self,
        _: &'a str,
        _: &'a Mesh,
    ) -> BoxFuture<'a, Result<Vec<String>, String>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    fn counted<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<Connections>, String>> {
        Box::pin(async { Ok(Some(Connections::new(9_120, 9))) })
    }
    fn without_sandbox<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<String>, String>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    fn connections<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
    ) -> BoxFuture<'a, Result<crate::probe::Figures, String>> {
        Box::pin(async { Err("nobody answers".to_owned()) })
    }
    fn room<'a>(&'a self, _: &'a str, _: u64, _: u64) -> BoxFuture<'a, Result<Evidence, String>> {
        Box::pin(async { Err("nobody answers".to_owned()) })
    }
}

struct Bench {
    fake: Fake,
    operator: Operator,
    start: Timestamp,
    watches: JoinSet<()>,
    folder: PathBuf,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Bench {
    /// An operator on a cluster of one node with one member.
    async fn new(spec: Value) -> Self {
        let fake = Fake::default();
        for name in ["kube-system", "applink-operator", "applink-system"] {
            fake.put(&format!("/api/v1/namespaces/{name}"), json!({}));
        }
        fake.put(
            "/api/v1/nodes/a",
            json!({
                "spec": {"podCIDR": "10.244.0.0/24"},
                "status": {
                    "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": null, "lastTransitionTime": null}],
                    "nodeInfo": {"kubeletVersion": "v1.33.4", "operatingSystem": "linux", "architecture": "amd64"},
                },
            }),
        );
        fake.put(
            MEMBER,
            json!({"apiVersion": "applink.dev/v1alpha1", "kind": "MeshMember", "spec": spec}),
        );
        let folder = std::env::temp_dir().join(format!(
            "applink-loop-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::create_dir_all(&folder).unwrap();
        let (operator, watches) = operator(&fake, &folder).await;
        Self {
            fake,
            operator,
            start: "2026-11-21T10:00:00Z".parse().unwrap(),
            watches,
            folder,
        }
    }

    /// The operator dies, and another one starts.
    async fn restart(&mut self) {
        let (operator, watches) = operator(&self.fake, &self.folder).await;
        self.operator = operator;
        drop(std::mem::replace(&mut self.watches, watches));
    }

    /// Passes until the rollout that goes back has ended.
    async fn until_ended(&mut self, mut millis: i64) {
        for _ in 0..10 {
            self.pass(millis).await;
            millis += 2000;
        }
        let member = self.fake.get(MEMBER).unwrap();
        assert_eq!(
            member["status"].get("rollout"),
            None,
            "{:#}",
            member["status"]
        );
    }

    fn at(&self, millis: i64) -> Timestamp {
        self.start + SignedDuration::from_millis(millis)
    }

    /// One pass, with everything known that the API server has told. Returns what was asked, and in how many
    /// milliseconds from the start the next pass is due.
    async fn pass(&mut self, millis: i64) -> (Vec<Asked>, Option<i64>) {
        self.seen().await;
        let now = self.at(millis);
        let next = self.operator.pass(now).await;
        let due = next.map(|next| {
            i64::try_from(next.duration_since(self.start).as_millis()).unwrap_or(i64::MAX)
        });
        (self.fake.asked(), due)
    }

    /// Waits until the watches have told the newest version of the member and of the Secrets.
    async fn seen(&self) {
        let version = |path: &str| -> Option<u64> {
            let object = self.fake.get(path)?;
            object["metadata"]["resourceVersion"].as_str()?.parse().ok()
        };
        let told = || {
            let members = self.operator.world.members.all();
            let member = members.get("east").map(|own| own.1);
            let world = &self.operator.world;
            let home = "/api/v1/namespaces/applink-operator/secrets";
            let networks = "/apis/applink.dev/v1alpha1/applicationnetworks";
            let releases = "/apis/applink.dev/v1alpha1/meshreleases";
            let seen: Vec<(String, Option<u64>)> = world
                .releases
                .all()
                .into_iter()
                .map(|(name, own)| (name, Some(own.1)))
                .collect();
            let there: Vec<(String, Option<u64>)> = self
                .fake
                .names(releases)
                .into_iter()
                .map(|name| {
                    let version = version(&format!("{releases}/{name}"));
                    (name, version)
                })
                .collect();
            member == version(MEMBER)
                && seen == there
                && world.home.all().into_keys().eq(self.fake.names(home))
                && world
                    .networks
                    .all()
                    .into_keys()
                    .eq(self.fake.names(networks))
                && world.pull.all().is_empty() == self.fake.get(PULL).is_none()
                && world.cacerts.all().is_empty() == self.fake.get(CACERTS).is_none()
        };
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !told() {
            assert!(
                std::time::Instant::now() < deadline,
                "the watches are silent"
            );
            tokio::task::yield_now().await;
        }
    }

    /// Status and reason of a condition of the member, and its message.
    fn condition(&self, kind: &str) -> Option<(String, String)> {
        let member = self.fake.get(MEMBER)?;
        let all = member["status"]["conditions"].as_array()?.clone();
        let one = all.into_iter().find(|one| one["type"] == kind)?;
        let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
        Some((
            format!("{}/{}", text("status"), text("reason")),
            text("message"),
        ))
    }

    /// This line is among the metrics.
    fn shows(&self, line: &str) {
        let text = self.operator.metrics.text();
        assert!(text.lines().any(|one| one == line), "{line}: {text}");
    }

    /// Changes the member's spec as its owner.
    fn edit(&self, spec: Value) {
        let mut member = self.fake.get(MEMBER).unwrap();
        member["spec"] = spec;
        self.fake.put(MEMBER, member);
    }
}

/// An operator that has seen what is there.
async fn operator(fake: &Fake, folder: &std::path::Path) -> (Operator, JoinSet<()>) {
    let (client, mut watches) = (fake.client(), JoinSet::new());
    let world = World::start(&client, &mut watches).await.unwrap();
    while !world.is_synced() {
        world.wake.notified().await;
    }
    let events = Events::new(client.clone(), "test".to_owned());
    let operator = Operator::new(
        client,
        world,
        Arc::new(Silence { signs: false }),
        Metrics::default(),
        folder.to_owned(),
        Reporter::new(events),
    );
    fake.asked();
    (operator, watches)
}

fn statuses(asked: &[Asked]) -> usize {
    asked
        .iter()
        .filter(|one| one.path == format!("{MEMBER}/status"))
        .count()
}

fn writes_to<'a>(asked: &'a [Asked], path: &str) -> Vec<&'a Asked> {
    asked
        .iter()
        .filter(|one| one.method != Method::GET && one.path == path)
        .collect()
}

fn etcd_is_away(asked: &Asked) -> Option<(u16, &'static str)> {
    (asked.method == Method::PATCH && asked.path == NAMESPACE).then_some((500, "etcd is away"))
}

#[tokio::test]
async fn a_pass_that_fails_is_told_once_and_tried_again_ever_more_slowly() {
    let mut bench = Bench::new(json!({})).await;
    bench.fake.refuse(Some(etcd_is_away));
    let (asked, due) = bench.pass(0).await;
    assert_eq!((statuses(&asked), due), (1, Some(1000)));
    let (reason, message) = bench.condition("Reconciling").unwrap();
    assert_eq!(reason, "True/Retrying");
    assert!(
        message.contains("etcd is away") && message.contains("Namespace applink-system"),
        "{message}"
    );
    assert_eq!(bench.condition("Stalled"), None);

    // The network that was made meanwhile is told about.
    bench.pass(500).await;
    let (asked, due) = bench.pass(999).await;
    assert!(asked.is_empty(), "before its time: {asked:?}");
    assert_eq!(due, Some(1000));
    bench.shows("applink_reconcile_failures_total{reason=\"Retrying\"} 1");
    for (millis, next) in [(1000, 3000), (3000, 7000), (7000, 15_000)] {
        let (asked, due) = bench.pass(millis).await;
        assert_eq!(writes_to(&asked, NAMESPACE).len(), 1, "after {millis} ms");
        assert_eq!(statuses(&asked), 0, "nothing new is to be told");
        assert_eq!(due, Some(next));
    }

    // What failed works again: the rest is done, and the status says so.
    bench.fake.refuse(None);
    let (asked, _) = bench.pass(15_000).await;
    assert_eq!(statuses(&asked), 1);
    let (reason, message) = bench.condition("Reconciling").unwrap();
    assert_eq!(reason, "True/ControlPlane", "{message}");
    bench.shows("applink_member_step{step=\"ControlPlane\"} 1");
    bench.shows("applink_member_waiting{reason=\"ControlPlane\"} 1");
}

#[tokio::test]
async fn a_second_look_at_the_same_writes_nothing() {
    let mut bench = Bench::new(json!({})).await;
    let (first, _) = bench.pass(0).await;
    assert!(first.len() > 10 && statuses(&first) == 1, "{}", first.len());
    let (second, _) = bench.pass(2000).await;
    let writes: Vec<_> = second
        .iter()
        .filter(|one| one.method != Method::GET && !one.path.ends_with("/status"))
        .collect();
    assert!(writes.is_empty(), "{writes:#?}");
    let (third, _) = bench.pass(4000).await;
    assert!(third.is_empty(), "{third:#?}");
}

#[tokio::test]
async fn a_right_to_write_that_is_missing_is_told_before_anything_is_written() {
    let mut bench = Bench::new(json!({})).await;
    bench.fake.grant(json!([
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch", "patch", "update", "delete", "bind"]},
        {"apiGroups": [""], "resources": ["*"], "verbs": ["create"]},
    ]));
    let (asked, due) = bench.pass(0).await;
    let (reason, message) = bench.condition("Stalled").unwrap();
    assert_eq!(reason, "True/MissingRights");
    assert!(
        message.contains(", create clusterrolebindings.rbac.authorization.k8s.io,"),
        "{message}"
    );
    let is_work = |one: &&Asked| {
        one.method != Method::GET
            && !one.path.ends_with("/status")
            && !one.path.ends_with("/events")
            && !one.path.ends_with("/selfsubjectrulesreviews")
    };
    let done: Vec<&Asked> = asked.iter().filter(is_work).collect();
    assert!(done.is_empty(), "{done:#?}");
    assert_eq!(due, Some(10_000), "asked again, for no watch tells");

    bench
        .fake
        .grant(json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]));
    bench.pass(5000).await;
    assert!(bench.condition("Stalled").is_some(), "not asked yet");
    let (asked, _) = bench.pass(10_000).await;
    assert_eq!(bench.condition("Stalled"), None);
    assert!(asked.iter().filter(is_work).count() > 10);
}

#[tokio::test]
async fn pull_secrets_are_copied_follow_their_source_and_a_missing_one_is_told() {
    let spec = json!({"images": {"pullSecrets": [{"name": "mirror"}]}});
    let mut bench = Bench::new(spec).await;
    let (asked, _) = bench.pass(0).await;
    assert!(writes_to(&asked, PULL).is_empty());
    let (reason, message) = bench.condition("Stalled").unwrap();
    assert_eq!(reason, "True/PreflightFailed");
    assert!(
        message.contains("Secret applink-operator/mirror")
            && message.contains("create secret docker-registry mirror"),
        "{message}"
    );

    let secret = |auth: &str| {
        use base64::Engine;
        let text = json!({"auths": {"mirror.example.com": {"auth": auth}}}).to_string();
        let text = base64::engine::general_purpose::STANDARD.encode(text);
        json!({"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": text}})
    };
    let source = "/api/v1/namespaces/applink-operator/secrets/mirror";
    bench.fake.put(source, secret("b25l"));
    let (asked, _) = bench.pass(1000).await;
    let [copied] = writes_to(&asked, PULL)[..] else {
        panic!("{asked:#?}")
    };
    assert_eq!(
        copied.body["metadata"]["labels"]["applink.dev/member"],
        "east"
    );
    assert_eq!(bench.condition("Stalled"), None);
    assert_eq!(
        bench.fake.get(PULL).unwrap()["data"],
        secret("b25l")["data"]
    );
    let (asked, _) = bench.pass(2000).await;
    assert!(writes_to(&asked, PULL).is_empty(), "copied once");

    // Somebody empties the copy: it is put back.
    let mut copy = bench.fake.get(PULL).unwrap();
    copy["data"] = json!({});
    bench.fake.put(PULL, copy);
    while bench
        .operator
        .world
        .pull
        .all()
        .values()
        .all(|copy| copy.digest == copied_digest(&bench))
    {
        tokio::task::yield_now().await;
    }
    let (asked, _) = bench.pass(3000).await;
    assert_eq!(writes_to(&asked, PULL).len(), 1);
}

/// The fingerprint that the copy has when it holds what the source does.
fn copied_digest(bench: &Bench) -> u64 {
    let home = bench.operator.world.home.all();
    let Some(super::world::Keys::Pull(Ok(credentials))) = home.get("mirror").map(AsRef::as_ref)
    else {
        panic!("no source")
    };
    super::world::digest(Some(&crate::facts::merged([credentials])))
}

#[tokio::test]
async fn an_autoscaler_of_somebody_else_is_given_the_replicas_without_a_moment_at_one() {
    let mut bench = Bench::new(json!({})).await;
    bench.pass(0).await;
    let deployments: Vec<Value> = bench
        .operator
        .world
        .facts()
        .objects
        .iter()
        .filter(|(key, _)| key.kind == "Deployment")
        .map(|(key, _)| json!(key.name))
        .collect();
    let [Value::String(istiod)] = &deployments[..] else {
        panic!("{deployments:?}")
    };
    bench.fake.put(
        "/apis/autoscaling/v2/namespaces/applink-system/horizontalpodautoscalers/theirs",
        json!({"spec": {"minReplicas": 3, "maxReplicas": 9, "scaleTargetRef": {"kind": "Deployment", "name": istiod}}}),
    );
    while bench.operator.world.facts().autoscaled.is_empty() {
        tokio::task::yield_now().await;
    }
    let (asked, _) = bench.pass(1000).await;
    let path = format!("/apis/apps/v1/namespaces/applink-system/deployments/{istiod}");
    let [handed, applied] = writes_to(&asked, &path)[..] else {
        panic!("{asked:#?}")
    };
    assert_eq!(handed.body["spec"], json!({"replicas": 2}));
    assert!(handed.query.contains("applink.dev/initial") && !handed.query.contains("force=true"));
    assert!(applied.body["spec"].get("replicas").is_none() && applied.query.contains("force=true"));
}
