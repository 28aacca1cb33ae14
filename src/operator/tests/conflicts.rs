//! Writes to what has changed since it was seen.

use futures::FutureExt as _;

use super::*;
use crate::plan::Act;

/// A heartbeat of the kubelet changes nothing that a plan looks at, so the watch alone would wake nobody for hours.
#[tokio::test]
async fn a_write_that_came_too_late_is_decided_anew_soon() {
    let mark = |label: Option<Option<String>>, taint| Act::MarkNode {
        name: "a".to_owned(),
        label,
        taint,
        resource_version: "7".to_owned(),
    };
    for act in [
        mark(Some(Some("1-6-0-abcdef.moving".to_owned())), None),
        mark(None, Some(true)),
        Act::Unenrol {
            namespace: "shop".to_owned(),
            resource_version: "7".to_owned(),
        },
    ] {
        let mut bench = Bench::new(json!({})).await;
        bench.fake.refuse(Some(|request| {
            (request.method == Method::PATCH).then_some((409, "the object has been modified"))
        }));
        let wake = Arc::clone(&bench.operator.world.wake);
        while wake.notified().now_or_never().is_some() {}
        bench.operator.act_of_leave(&act).await.unwrap();
        let woken = tokio::time::timeout(std::time::Duration::from_secs(5), wake.notified()).await;
        assert!(woken.is_ok(), "{act:?}");
    }
}
