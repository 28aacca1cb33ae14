//! A node comes, and another one loses its agent, while the canary waits for an agent that crashes.

use e2e::images::Image;
use e2e::images::broken::Broken;
use e2e::progress::Progress;
use e2e::stage::{self, Stage};
use serde_json::json;

use super::{
    AGENT, NAMESPACE, PROXY, components, levels, nodes, spec, tainted, until_agent, until_done,
};
use crate::added::Added;
use crate::fixture::{INSTALL, MEMBER, cluster, installed_with, on_stage};
use crate::upgrades::watched::Watched;

#[test]
fn a_node_that_comes_and_an_agent_that_goes_while_the_canary_fails_get_the_settled_agent() {
    on_stage(|stage| async move {
        let mut cluster = cluster();
        let archive = Image::Broken.build(None, Progress::new()).unwrap();
        cluster.load(&archive).unwrap();
        let good = Stage::release("1.6.0", &["Rapid"]);
        let (level, _) = levels(stage).await;
        installed_with(stage, spec(level, "0s")).await;

        // Without pods that come: none can start where the agent crashes, or was deleted.
        let users = Watched::some(stage, NAMESPACE).await;

        let (component, broken) = Broken::CrashingAgent.image();
        let (repository, tag) = broken.rsplit_once(':').unwrap();
        let mut release = good.clone();
        release["spec"]["images"][component] = json!({"repository": repository, "tag": tag});
        stage.apply(&release).unwrap();
        let canary = stage::eventually("the canary waits for its agent", INSTALL, || async {
            let canary = tainted(stage).pop().ok_or("no node has the taint")?;
            match &components(stage, AGENT, &canary)[..] {
                [one] if one.image == broken => Ok(canary),
                all => Err(format!("{canary}: {all:?}")),
            }
        })
        .await
        .unwrap();

        let unmoved = nodes(stage)
            .into_iter()
            .find(|node| *node != canary)
            .unwrap();
        let before = components(stage, AGENT, &unmoved).remove(0);
        let delete = [
            "delete",
            "pod",
            "-n",
            "applink-system",
            &before.name,
            "--wait=false",
        ];
        users.excuse(&unmoved);
        stage.cluster.kubectl(&delete).unwrap();
        let added = Added::new(stage, cluster, 1).await;
        let again = until_agent(stage, &unmoved, &before.image).await;
        assert_ne!(again, before.uid);
        until_agent(stage, &added.names[0], &before.image).await;
        let waiting = components(stage, AGENT, &canary);
        assert!(
            tainted(stage) == [canary.clone()] && waiting.iter().all(|one| one.image == broken),
            "{canary} was to wait all the while: {waiting:?}"
        );

        stage.applink(&["abort", MEMBER]).unwrap();
        for node in nodes(stage) {
            until_agent(stage, &node, &before.image).await;
        }
        stage.apply(&good).unwrap();
        until_done(stage).await;
        assert_eq!(tainted(stage), [""; 0]);
        for node in nodes(stage) {
            assert_eq!(components(stage, PROXY, &node).len(), 1, "{node}");
        }
        users.end().await;
        drop(added);
    });
}
