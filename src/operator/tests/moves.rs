//! Members that run and are to run something else, over the whole loop: written down first, then done; told why not.

mod findings;
mod halts;
mod hops;
mod networks;
mod placement;
mod renderings;
mod templates;
mod unlisted;

use super::*;
use crate::api::v1alpha1::ApplicationNetworkSpec;
use crate::blueprint::resolve::{Surroundings, blueprint};
use crate::catalogue::{Catalogue, Version};
use crate::operator::survey;
use crate::plan::Target;
use crate::platform;

const RELEASES: &str = "/apis/applink.dev/v1alpha1/meshreleases";
const ISTIOD: &str = "/apis/apps/v1/namespaces/applink-system/deployments/istiod-1-5-4";
const SETS: &str = "/apis/apps/v1/namespaces/applink-system/daemonsets";
const HOUR: i64 = 3_600_000;

fn rapid() -> Value {
    json!({"mode": "FullyManaged", "releaseChannel": "Rapid"})
}

/// A release that fits the cluster.
fn release(version: &str, more: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "applink.dev/v1alpha1",
        "kind": "MeshRelease",
        "spec": {"istioVersion": "1.31.0", "kubernetes": {"min": "1.30", "max": "1.36"}},
    });
    if let (Value::Object(spec), Value::Object(more)) = (&mut object["spec"], more) {
        spec.extend(more.clone());
    }
    let _ = version;
    object
}

impl Bench {
    /// A member that runs 1.5.4, which it reached by what it follows.
    async fn running(upgrade: Value, reached_by: &str) -> Self {
        Self::at_version("1.5.4", upgrade, reached_by).await
    }

    /// A member that runs that version, which it reached by what it follows.
    async fn at_version(version: &str, upgrade: Value, reached_by: &str) -> Self {
        let network = ApplicationNetworkSpec::default();
        Self::in_network(version, json!({"upgrade": upgrade}), reached_by, &network).await
    }

    /// The same with this spec and in this network.
    async fn in_network(
        version: &str,
        spec: Value,
        reached_by: &str,
        network: &ApplicationNetworkSpec,
    ) -> Self {
        let bench = Self::new(spec).await;
        let mut member = bench.fake.get(MEMBER).unwrap();
        member["status"] =
            json!({"version": {"current": version, "target": version, "reachedBy": reached_by}});
        bench.fake.put(MEMBER, member);
        bench.seen().await;
        bench.populate(version, &bench.spec(), network).await;
        bench
    }

    fn spec(&self) -> Value {
        self.fake.get(MEMBER).unwrap()["spec"].clone()
    }

    /// What a release is made of for this member, by this operator.
    fn rendered(&self, version: Version) -> Target {
        self.rendered_from(version, &self.spec(), &ApplicationNetworkSpec::default())
    }

    /// The same for this spec and network of it.
    fn rendered_from(
        &self,
        version: Version,
        spec: &Value,
        network: &ApplicationNetworkSpec,
    ) -> Target {
        let facts = self.operator.world.facts();
        let members = self.operator.world.members.all();
        let mut member = members["east"].0.as_ref().unwrap().clone();
        member.spec = serde_json::from_value(spec.clone()).unwrap();
        let catalogue = Catalogue::embedded();
        let surroundings = Surroundings {
            platform: platform::detect(&survey::evidence(&facts), None).platform,
            families: survey::families(&facts),
            ..Surroundings::default()
        };
        let release = catalogue.get(version).unwrap();
        Target::of(&blueprint(&member, network, release, &surroundings).unwrap()).unwrap()
    }

    /// What runs on nodes is there: the sets of that version, as the operator would have made them from that spec.
    /// Returns the hash of their template.
    async fn populate(
        &self,
        version: &str,
        spec: &Value,
        network: &ApplicationNetworkSpec,
    ) -> String {
        let target = self.rendered_from(version.parse().unwrap(), spec, network);
        let sets = || {
            let all = target.agent.iter().chain(&target.proxy);
            all.filter(|object| object.key.kind == "DaemonSet")
        };
        for set in sets() {
            let path = format!("{SETS}/{}", set.key.name);
            self.fake.put(&path, set.manifest.body.clone());
        }
        while !sets().all(|set| self.operator.world.facts().object(&set.key).is_some()) {
            tokio::task::yield_now().await;
        }
        target.proxy_hash.clone()
    }

    /// What runs is applied, and what was applied has been seen.
    async fn settled(&mut self) {
        for millis in [0, 2, 4] {
            self.pass(millis).await;
        }
    }

    fn put_release(&self, version: &str, more: &Value) {
        let path = format!("{RELEASES}/{version}");
        self.fake.put(&path, release(version, more));
    }

    /// The same, which channel Rapid means from then on.
    fn put_rapid(&self, version: &str) {
        let channels = json!([{"name": "Rapid", "since": "2026-11-01T00:00:00Z"}]);
        self.put_release(version, &json!({"channels": channels}));
    }

    fn status(&self, pointer: &str) -> Value {
        let member = self.fake.get(MEMBER).unwrap();
        let status = member["status"].pointer(pointer);
        status.cloned().unwrap_or_default()
    }

    /// What the rollout goes to and who started it.
    fn rollout(&self) -> Option<(String, String)> {
        let text = |pointer| self.status(pointer).as_str().map(str::to_owned);
        Some((text("/rollout/to")?, text("/rollout/initiatedBy")?))
    }

    fn annotate(&self, annotations: Value) {
        let mut member = self.fake.get(MEMBER).unwrap();
        member["metadata"]["annotations"] = annotations;
        self.fake.put(MEMBER, member);
    }
}

fn to(version: &str, by: &str) -> Option<(String, String)> {
    Some((version.to_owned(), by.to_owned()))
}

/// Something of this release is brought to the cluster.
fn brings(asked: &[Asked], release: &str) -> bool {
    acts(asked)
        .iter()
        .any(|act| act.path.contains(release) || act.body.to_string().contains(release))
}

/// Writes to anything but status and Events.
fn acts(asked: &[Asked]) -> Vec<&Asked> {
    asked
        .iter()
        .filter(|one| one.method != Method::GET)
        .filter(|one| !one.path.ends_with("/status") && !one.path.contains("/events"))
        .collect()
}

#[tokio::test]
async fn a_changed_pin_is_written_down_before_anything_is_done_and_then_followed() {
    let mut bench = Bench::running(json!({"version": "1.5"}), "1.5").await;
    bench.settled().await;
    assert_eq!(bench.rollout(), None);
    bench.edit(json!({"upgrade": {"version": "1.6"}}));
    let (asked, due) = bench.pass(20).await;
    assert_eq!(statuses(&asked), 1);
    assert!(acts(&asked).is_empty(), "{:#?}", acts(&asked));
    assert_eq!(bench.rollout(), to("1.6.0", "Spec"));
    assert_eq!(bench.status("/version/current"), "1.5.4");
    assert_eq!(bench.status("/version/target"), "1.6.0");
    assert_eq!(bench.status("/rollout/follows"), "1.6");
    assert_eq!(bench.status("/releases/0/version"), "1.6.0");
    assert_eq!(due, Some(20), "at once");
    let (asked, _) = bench.pass(30).await;
    assert!(brings(&asked, "1-6-0"), "{asked:#?}");
    assert_eq!(bench.rollout(), to("1.6.0", "Spec"));
}

#[tokio::test]
async fn what_was_begun_goes_on_whatever_becomes_of_the_catalogue_and_of_the_operator() {
    let mut bench = Bench::running(rapid(), "Rapid").await;
    bench.put_rapid("1.6.3");
    bench.pass(0).await;
    assert_eq!(bench.rollout(), to("1.6.3", "Channel"));
    let (begun, _) = bench.pass(1000).await;
    let id = bench.status("/rollout/id");
    // Its entry goes, a newer one comes, and the operator starts anew.
    bench.fake.delete(&format!("{RELEASES}/1.6.3"));
    bench.put_rapid("1.6.4");
    bench.restart().await;
    let (mut asked, _) = bench.pass(3000).await;
    asked.extend(bench.pass(5000).await.0);
    assert_eq!(bench.rollout(), to("1.6.3", "Channel"));
    assert_eq!(bench.status("/rollout/id"), id);
    assert!(brings(&begun, "1-6-3"), "{begun:#?}");
    assert!(!brings(&asked, "1-6-4"), "{asked:#?}");
}

#[tokio::test]
async fn a_channel_that_moves_waits_for_the_window_says_so_once_and_starts_in_it() {
    let windows = json!([{"start": "22:00", "duration": "2h"}]);
    let mut upgrade = rapid();
    upgrade["maintenanceWindows"] = windows;
    let mut bench = Bench::running(upgrade, "Rapid").await;
    bench.settled().await;
    assert_eq!(bench.rollout(), None);
    let (reason, message) = bench.condition("UpToDate").unwrap();
    assert_eq!(reason, "False/WaitingForWindow");
    assert!(message.contains("the move to 1.6.0"), "{message}");
    assert_eq!(bench.status("/upgrade/nextWindow"), "2026-11-21T22:00:00Z");
    assert_eq!(bench.status("/upgrade/waitingFor"), json!(message));
    bench.pass(HOUR).await;
    let (asked, due) = bench.pass(2 * HOUR).await;
    assert!(asked.is_empty(), "{asked:#?}");
    assert!(due.is_some_and(|due| due <= 12 * HOUR), "{due:?}");
    bench.pass(12 * HOUR).await;
    assert_eq!(bench.rollout(), to("1.6.0", "Channel"));
    assert_eq!(bench.condition("UpToDate").unwrap().0, "False/Progressing");
    // The window closes while it is on its way: it says what it waits for, and until when.
    bench.pass(15 * HOUR).await;
    bench.pass(15 * HOUR + 2000).await;
    let (reason, message) = bench.condition("UpToDate").unwrap();
    assert_eq!(reason, "False/WaitingForWindow", "{message}");
    assert_eq!(bench.status("/upgrade/nextWindow"), "2026-11-22T22:00:00Z");
}

#[tokio::test]
async fn a_withdrawal_ends_a_rollout_and_is_not_forgotten_with_the_object_that_told_of_it() {
    let mut bench = Bench::running(rapid(), "Rapid").await;
    bench.settled().await;
    assert_eq!(bench.rollout(), to("1.6.0", "Channel"));
    bench.put_release(
        "1.6.0",
        &json!({"withdrawn": {"reason": "it loses policies"}}),
    );
    bench.pass(3000).await;
    assert_eq!(
        bench.status("/rollout/returns"),
        "1.6.0 was withdrawn: it loses policies"
    );
    assert_eq!(bench.status("/withdrawals/0/version"), "1.6.0");
    bench.until_ended(5000).await;
    assert_eq!(bench.status("/version/target"), "1.5.4");
    assert_eq!(bench.status("/history/0/to"), "1.6.0");
    assert_eq!(bench.status("/history/0/result"), "Aborted");
    bench.fake.delete(&format!("{RELEASES}/1.6.0"));
    bench.pass(20_000).await;
    bench.pass(22_000).await;
    assert_eq!(bench.rollout(), None);
    assert_eq!(bench.status("/withdrawals/0/reason"), "it loses policies");
}

#[tokio::test]
async fn a_spec_that_goes_back_takes_the_rollout_back_and_forth_again_starts_another() {
    let mut bench = Bench::running(json!({"version": "1.5"}), "1.5").await;
    bench.settled().await;
    bench.edit(json!({"upgrade": {"version": "1.6"}}));
    bench.pass(1000).await;
    bench.pass(2000).await;
    let first = bench.status("/rollout/id");
    bench.edit(json!({"upgrade": {"version": "1.5"}}));
    bench.pass(3000).await;
    assert_eq!(
        bench.status("/rollout/returns"),
        "the spec asks for 1.5 now, which means 1.5.4"
    );
    bench.until_ended(5000).await;
    assert_eq!(bench.status("/history/0/result"), "Aborted");
    assert_eq!(bench.condition("UpToDate").unwrap().0, "True/Current");
    bench.edit(json!({"upgrade": {"version": "1.6"}}));
    bench.pass(30_000).await;
    assert_eq!(bench.rollout(), to("1.6.0", "Spec"));
    assert_ne!(bench.status("/rollout/id"), first);
}

#[tokio::test]
async fn a_strategy_that_changes_in_the_middle_changes_how_and_neither_where_to_nor_what_was_begun()
{
    let gates = json!({"gates": {"timeout": "2h"}});
    let mut bench = Bench::running(json!({"version": "1.6", "strategy": gates}), "1.5").await;
    bench.settled().await;
    bench.pass(1000).await;
    assert_eq!(bench.rollout(), to("1.6.0", "Spec"));
    let id = bench.status("/rollout/id");
    let sets = bench.fake.names(SETS);
    let is_arriving = |name: &String| name.contains("1-6-0");
    assert!(sets.iter().any(is_arriving), "{sets:?}");
    let strategy = json!({
        "canary": {"type": "Count", "count": 2, "soak": "3m"},
        "batch": {"size": "50%"},
        "gates": {"timeout": "3h"},
        "onFailure": "Pause",
    });
    bench.edit(json!({"upgrade": {"version": "1.6", "strategy": strategy}}));
    for millis in [3000, 5000, 7000] {
        bench.pass(millis).await;
    }
    assert_eq!(bench.rollout(), to("1.6.0", "Spec"));
    assert_eq!(bench.status("/rollout/id"), id);
    assert_eq!(bench.status("/rollout/returns"), Value::Null);
    assert_eq!(bench.status("/failedReleases"), Value::Null);
    assert_eq!(bench.fake.names(SETS), sets);
    assert_eq!(bench.condition("UpToDate").unwrap().0, "False/Progressing");
}

#[tokio::test]
async fn the_second_hop_follows_the_first_and_one_that_fails_ends_where_the_first_did() {
    // As status is after the first hop.
    let mut bench = Bench::at_version("1.6.0", json!({"version": "1.7"}), "1.7").await;
    bench.put_release("1.7.0", &json!({}));
    bench.settled().await;
    assert_eq!(bench.rollout(), to("1.7.0", "Spec"));
    bench.annotate(json!({"applink.dev/abort": "n1"}));
    bench.until_ended(5000).await;
    assert_eq!(bench.status("/version/current"), "1.6.0");
    assert_eq!(bench.status("/history/0/from"), "1.6.0");
    assert_eq!(bench.status("/history/0/to"), "1.7.0");
    assert_eq!(
        bench.condition("UpToDate").unwrap().0,
        "False/ReleaseFailed"
    );
    bench.pass(60_000).await;
    assert_eq!(bench.rollout(), None, "it is not tried again by itself");
}

#[tokio::test]
async fn an_aborted_rollout_goes_back_and_is_tried_again_only_when_asked() {
    let mut bench = Bench::running(json!({"version": "1.6"}), "1.5").await;
    bench.settled().await;
    assert_eq!(bench.rollout(), to("1.6.0", "Spec"));
    bench.annotate(json!({"applink.dev/abort": "n1"}));
    bench.pass(2000).await;
    assert_eq!(bench.status("/handledRequests/abort"), "n1");
    bench.until_ended(4000).await;
    assert_eq!(bench.status("/history/0/result"), "Aborted");
    let (reason, message) = bench.condition("UpToDate").unwrap();
    assert_eq!(reason, "False/ReleaseFailed");
    assert!(message.contains("applink retry"), "{message}");
    bench.pass(30_000).await;
    assert_eq!(bench.rollout(), None);
    bench.annotate(json!({"applink.dev/abort": "n1", "applink.dev/retry": "n2"}));
    bench.pass(40_000).await;
    bench.pass(42_000).await;
    assert_eq!(bench.rollout(), to("1.6.0", "Spec"));
    assert_eq!(bench.status("/handledRequests/retry"), "n2");
    assert_eq!(bench.status("/failedReleases"), Value::Null);
}

#[tokio::test]
async fn a_paused_member_does_not_start_and_says_who_can_resume_it() {
    let mut bench = Bench::running(json!({"version": "1.6"}), "1.5").await;
    bench.annotate(json!({"applink.dev/paused": "by me"}));
    bench.settled().await;
    assert_eq!(bench.rollout(), None);
    let (reason, message) = bench.condition("UpToDate").unwrap();
    assert_eq!(reason, "False/Paused");
    assert!(message.contains("applink resume"), "{message}");
    bench.annotate(json!({}));
    bench.pass(2000).await;
    assert_eq!(bench.rollout(), to("1.6.0", "Spec"));
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_with_a_reason_and_what_runs_stays() {
    let window = |zone: &str| json!([{"start": "22:00", "duration": "1h", "timeZone": zone}]);
    let with = |version: &str, more: Value| Some((version.to_owned(), more));
    let rows = [
        (
            "a pin that does not exist",
            json!({"version": "1.9"}),
            None,
            "UnknownVersion",
            "known versions",
        ),
        (
            "an exact pin that does not exist",
            json!({"version": "1.6.77"}),
            None,
            "UnknownVersion",
            "1.6.77",
        ),
        (
            "a withdrawn one",
            json!({"version": "1.6.6"}),
            with("1.6.6", json!({"withdrawn": {"reason": "bad"}})),
            "ReleaseWithdrawn",
            "bad",
        ),
        (
            "ahead of Kubernetes",
            json!({"version": "1.6.5"}),
            with(
                "1.6.5",
                json!({"kubernetes": {"min": "1.90", "max": "1.99"}}),
            ),
            "KubernetesOutOfRange",
            "this cluster runs 1.33",
        ),
        (
            "older than one step back",
            json!({"version": "1.3"}),
            with("1.3.0", json!({"istioVersion": "1.29.0"})),
            "TooFarBack",
            "pin 1.4 or a later one",
        ),
        (
            "a minor is missing on the way",
            json!({"version": "1.8"}),
            with("1.8.0", json!({})),
            "NoUpgradePath",
            "leads through 1.7",
        ),
        (
            "an unknown zone",
            json!({"version": "1.5", "maintenanceWindows": window("Europe/Atlantis")}),
            None,
            "InvalidSpec",
            "Europe/Atlantis",
        ),
    ];
    for (what, upgrade, object, expected, words) in rows {
        let mut bench = Bench::running(upgrade, "1.5").await;
        if let Some((version, more)) = &object {
            bench.put_release(version, more);
        }
        bench.settled().await;
        let (reason, message) = bench.condition("Accepted").unwrap();
        assert_eq!(reason, format!("False/{expected}"), "{what}: {message}");
        assert!(message.contains(words), "{what}: {message}");
        assert_eq!(
            bench.condition("UpToDate").map(|told| told.0),
            Some("False/NotAccepted".to_owned()),
            "{what}"
        );
        assert_eq!(bench.rollout(), None, "{what}");
        assert_eq!(bench.status("/version/current"), "1.5.4", "{what}");
        let istiod = ISTIOD.replace("1-6-0", "1-5-4");
        assert!(
            bench.fake.get(&istiod).is_some(),
            "{what}: what runs is kept"
        );
    }
}

#[tokio::test]
async fn several_minors_are_planned_as_hops_and_a_window_that_never_opens_is_told() {
    let mut bench = Bench::running(json!({"version": "1.7"}), "1.5").await;
    bench.put_release("1.7.0", &json!({}));
    bench.settled().await;
    assert_eq!(bench.rollout(), to("1.6.0", "Spec"));

    let mut upgrade = rapid();
    // Its only day is excluded for good.
    upgrade["maintenanceWindows"] =
        json!([{"days": ["Sunday"], "start": "22:00", "duration": "1h"}]);
    upgrade["exclusions"] =
        json!([{"name": "never", "from": "2020-01-01T00:00:00Z", "to": "2999-01-01T00:00:00Z"}]);
    let mut bench = Bench::running(upgrade, "Rapid").await;
    bench.settled().await;
    assert_eq!(bench.rollout(), None);
    let (reason, message) = bench.condition("UpToDate").unwrap();
    assert!(
        reason == "False/Excluded" && message.contains("exclusion never"),
        "{reason}: {message}"
    );
}
