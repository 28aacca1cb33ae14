//! An operator that has not seen what runs.

use super::*;

#[tokio::test]
async fn what_was_never_listed_is_not_taken_for_what_is_not_there() {
    let mut bench = Bench::running(rapid(), "Rapid").await;
    bench.put_rapid("1.6.3");
    bench.pass(0).await;
    bench.pass(1000).await;
    let rollout = bench.rollout();
    assert_eq!(rollout, to("1.6.3", "Channel"));
    // As an API server does that has just started, and knows no roles yet. Without a node, all nodes have moved.
    bench.fake.refuse(Some(|asked| {
        (asked.path.starts_with("/api/v1/nodes")).then_some((403, "forbidden"))
    }));
    bench.restart().await;
    let (asked, due) = bench.pass(3000).await;
    let is_right = |act: &&Asked| act.path.ends_with("/selfsubjectrulesreviews");
    let done = acts(&asked);
    assert!(done.iter().all(is_right), "{done:#?}");
    let (reason, message) = bench.condition("Stalled").unwrap();
    assert_eq!(reason, "True/MissingRights");
    assert!(message.contains("may not list nodes"), "{message}");
    assert!(due.is_some(), "it looks again by itself");
    assert_eq!(bench.rollout(), rollout);

    bench.fake.refuse(None);
    bench.restart().await;
    bench.pass(5000).await;
    assert_eq!(bench.condition("Stalled"), None);
    assert_eq!(bench.rollout(), rollout);
}
