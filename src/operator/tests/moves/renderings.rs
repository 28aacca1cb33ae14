//! Templates of another operator than what runs or arrives was made from.

use super::*;
use crate::decide;

const ARRIVING: &str = "1-6-0-abcdef";

impl Bench {
    fn settings(&self) -> String {
        let members = self.operator.world.members.all();
        decide::settings(&members["east"].0.as_ref().unwrap().spec).unwrap()
    }

    /// The template that runs was rendered by an operator that makes another one of the same settings; or by this one.
    async fn rendered_before(&self, hash: &str) {
        let mut member = self.fake.get(MEMBER).unwrap();
        member["status"]["version"]["hash"] = json!(hash);
        member["status"]["version"]["settings"] = json!(self.settings());
        self.fake.put(MEMBER, member);
        self.seen().await;
    }

    /// An operator that renders another template has brought its revision of the target to the cluster.
    async fn begun_by_another(&self) {
        let target = self.rendered(Version::new(1, 6, 0));
        let set = target
            .arriving
            .iter()
            .find(|one| one.key.kind == "DaemonSet");
        let text = set.unwrap().manifest.body.to_string();
        let text = text
            .replace(target.revision.as_str(), ARRIVING)
            .replace(&target.proxy_hash, "abcdef0123456789");
        let path = format!("{SETS}/ztunnel-{ARRIVING}");
        self.fake.put(&path, serde_json::from_str(&text).unwrap());
        let mut member = self.fake.get(MEMBER).unwrap();
        member["status"]["rollout"]["revision"] = json!(ARRIVING);
        member["status"]["rollout"]["hash"] = json!("abcdef0123456789");
        self.fake.put(MEMBER, member);
        self.seen().await;
        let is_seen = || {
            let facts = self.operator.world.facts();
            facts.objects.keys().any(|key| key.name.ends_with(ARRIVING))
        };
        while !is_seen() {
            tokio::task::yield_now().await;
        }
    }

    fn proxies(&self) -> Vec<String> {
        let mut sets = self.fake.names(SETS);
        sets.retain(|name| name.starts_with("ztunnel-"));
        sets
    }
}

fn at_night() -> Value {
    json!({"version": "1.5.4", "maintenanceWindows": [{"start": "22:00", "duration": "2h"}]})
}

#[tokio::test]
async fn a_new_operator_with_an_equal_template_moves_nothing() {
    let mut bench = Bench::running(json!({"version": "1.5.4"}), "1.5.4").await;
    let hash = bench.rendered(Version::new(1, 5, 4)).proxy_hash;
    bench.rendered_before(&hash).await;
    bench.settled().await;
    let sets = bench.proxies();
    bench.restart().await;
    for millis in [3000, 5000, 7000] {
        bench.pass(millis).await;
    }
    let (asked, _) = bench.pass(9000).await;
    assert!(acts(&asked).is_empty(), "{:#?}", acts(&asked));
    assert_eq!(bench.rollout(), None);
    assert_eq!(bench.proxies(), sets);
    assert_eq!(bench.condition("UpToDate").unwrap().0, "True/Current");
}

#[tokio::test]
async fn a_template_that_only_a_new_operator_brings_waits_for_the_window() {
    let mut bench = Bench::running(at_night(), "1.5.4").await;
    bench.rendered_before("0123456789abcdef").await;
    bench.settled().await;
    assert_eq!(bench.rollout(), None);
    let (reason, message) = bench.condition("UpToDate").unwrap();
    assert_eq!(reason, "False/WaitingForWindow", "{message}");
    assert!(
        message.contains("the new operator's per-node template"),
        "{message}"
    );
    bench.pass(12 * HOUR).await;
    assert_eq!(bench.rollout(), to("1.5.4", "Operator"));
    let begun = bench.rendered(Version::new(1, 5, 4));
    assert_eq!(bench.status("/rollout/hash"), json!(begun.proxy_hash));
    assert_eq!(bench.status("/rollout/settings"), json!(bench.settings()));
    // What the owner of the spec changes starts at once.
    let mut bench = Bench::running(at_night(), "1.5.4").await;
    bench.rendered_before("0123456789abcdef").await;
    bench.settled().await;
    let plane = json!({"ztunnel": {"logLevel": "Debug"}});
    bench.edit(json!({"upgrade": at_night(), "dataPlane": plane}));
    bench.pass(1000).await;
    assert_eq!(bench.rollout(), to("1.5.4", "Spec"));
}

#[tokio::test]
async fn what_an_operator_before_has_brought_to_the_nodes_stays_the_target() {
    let mut bench = Bench::running(json!({"version": "1.6"}), "1.5").await;
    bench.settled().await;
    assert_eq!(bench.rollout(), to("1.6.0", "Spec"));
    bench.begun_by_another().await;
    let id = bench.status("/rollout/id");
    let sets = bench.proxies();
    assert_eq!(sets.len(), 2, "{sets:?}");
    bench.restart().await;
    let mut asked = Vec::new();
    for millis in [3000, 5000, 7000, 9000] {
        asked.extend(bench.pass(millis).await.0);
    }
    assert_eq!(bench.status("/rollout/revision"), json!(ARRIVING));
    assert_eq!(bench.status("/rollout/hash"), json!("abcdef0123456789"));
    assert_eq!(bench.status("/rollout/id"), id);
    assert_eq!(bench.proxies(), sets);
    let changes: Vec<&Asked> = (acts(&asked).into_iter())
        .filter(|one| one.path.starts_with(SETS) && !one.path.contains("prepull"))
        .collect();
    assert!(changes.is_empty(), "{changes:#?}");
    let message = bench.status("/rollout/message");
    assert!(
        message.as_str().unwrap().contains("Deployment"),
        "it goes on: {message}"
    );
    // Whoever changes the settings wants another template: what has moved goes back first.
    let plane = json!({"ztunnel": {"logLevel": "Debug"}});
    bench.edit(json!({"upgrade": {"version": "1.6"}, "dataPlane": plane}));
    bench.pass(11_000).await;
    let wanted = bench.rendered(Version::new(1, 6, 0)).revision;
    assert_eq!(bench.status("/rollout/revision"), json!(wanted.as_str()));
    assert_eq!(bench.rollout(), to("1.6.0", "Spec"));
}

#[tokio::test]
async fn what_failed_stays_failed_for_an_operator_that_would_render_something_else() {
    let mut bench = Bench::running(json!({"version": "1.6"}), "1.5").await;
    bench.settled().await;
    let mut member = bench.fake.get(MEMBER).unwrap();
    // Its DaemonSet has gone already.
    member["status"]["rollout"]["revision"] = json!(ARRIVING);
    member["status"]["rollout"]["hash"] = json!("abcdef0123456789");
    member["status"]["failedReleases"] = json!([{
        "version": "1.6.0", "hash": "abcdef0123456789", "reason": "gate Proxy on node a", "follows": "1.6",
    }]);
    bench.fake.put(MEMBER, member);
    bench.restart().await;
    bench.until_ended(3000).await;
    assert_eq!(bench.status("/history/0/result"), "RolledBack");
    assert_eq!(bench.status("/history/0/reason"), "gate Proxy on node a");
    assert_eq!(bench.status("/version/current"), "1.5.4");
    assert_eq!(
        bench.condition("UpToDate").unwrap().0,
        "False/ReleaseFailed"
    );
}
