//! A pin that is two minors away: two rollouts, one after the other.

use e2e::stage::Stage;

use crate::fixture::{MEMBER, on_stage, remove_namespace};
use crate::upgrades::overlap::NODES;
use crate::upgrades::releases::{UPGRADE, assert_retired, bare, over, pinned, release, until_runs};
use crate::upgrades::watched::Watched;

const NAMESPACE: &str = "hops-users";

#[test]
#[ignore = "two rollouts in a row: make chaos-away"]
fn a_pin_two_minors_away_is_reached_by_way_of_the_one_between_and_nobody_notices() {
    on_stage(|stage| async move {
        remove_namespace(stage, NAMESPACE).await;
        let mut releases = bare(stage).await;
        for version in ["1.7.0", "1.8.0"] {
            releases.push(release(stage, version, &[]));
        }
        stage.apply(&Stage::member(MEMBER, &pinned("1.6"))).unwrap();
        until_runs(stage, "1.6.0").await;
        let users = Watched::full(stage, NAMESPACE, &NODES).await;
        stage.apply(&Stage::member(MEMBER, &pinned("1.8"))).unwrap();
        let member = stage.until_runs(MEMBER, "1.8.0", 2 * UPGRADE).await;
        let member = member.unwrap();
        let seen = users.end().await;

        let history = member.status.unwrap().history;
        let told: Vec<_> = (history.iter().take(2))
            .map(|one| {
                let from = one.from.as_deref().unwrap_or_default();
                (from, one.to.as_str(), one.result.as_str())
            })
            .collect();
        let expected = [
            ("1.7.0", "1.8.0", "Succeeded"),
            ("1.6.0", "1.7.0", "Succeeded"),
        ];
        assert_eq!(told, expected);
        for node in NODES {
            let ended = [true, false].map(|proxies| seen.ended(node, proxies));
            assert_eq!(ended, [2, 2], "{node}, proxies and agents: {seen:#?}");
        }
        assert!(seen.silent.is_empty(), "without a proxy: {seen:#?}");
        for version in ["1.6.0", "1.7.0"] {
            assert_retired(stage, version);
        }
        over(stage, &releases).await;
    });
}
