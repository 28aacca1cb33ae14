//! Releases that cannot be read: refused by name in status and Events, and in nobody's way.

use super::*;

const RELEASES: &str = "/apis/applink.dev/v1alpha1/meshreleases";

fn release(min: &str) -> Value {
    json!({
        "apiVersion": "applink.dev/v1alpha1", "kind": "MeshRelease",
        "spec": {
            "istioVersion": "1.31.0",
            "kubernetes": {"min": min, "max": "1.36"},
            "gatewayAPI": "1.6.0",
            "released": "2026-08-31",
        },
    })
}

/// Reason and note of each Event about a release.
fn told(asked: &[Asked]) -> Vec<(&str, &str)> {
    asked
        .iter()
        .filter(|one| one.body["kind"] == "Event")
        .filter(|one| one.body["regarding"]["kind"] == "MeshRelease")
        .filter_map(|one| Some((one.body["reason"].as_str()?, one.body["note"].as_str()?)))
        .collect()
}

#[tokio::test]
async fn a_release_that_cannot_be_read_is_told_in_an_event_once_and_when_it_is_mended() {
    let mut bench = Bench::new(json!({})).await;
    bench
        .fake
        .put(&format!("{RELEASES}/1.6.8"), release("1.32"));
    bench
        .fake
        .put(&format!("{RELEASES}/1.6.9"), release("1.40"));
    let (asked, _) = bench.pass(0).await;
    let [(reason, note)] = told(&asked)[..] else {
        panic!("one Event: {:?}", told(&asked))
    };
    assert_eq!(reason, "MalformedRelease");
    for words in [
        "kubernetes: the range",
        "min must not be above max",
        "skipped",
    ] {
        assert!(note.contains(words), "{note}");
    }
    let event = asked
        .iter()
        .find(|one| one.body["reason"] == reason)
        .unwrap();
    assert_eq!(event.body["regarding"]["uid"], "uid-1.6.9");
    assert_eq!(event.body["type"], "Warning");

    for millis in [1000, 2000] {
        let (asked, _) = bench.pass(millis).await;
        assert_eq!(told(&asked), []);
    }

    let mut mended = bench.fake.get(&format!("{RELEASES}/1.6.9")).unwrap();
    mended["spec"] = release("1.32")["spec"].clone();
    bench.fake.put(&format!("{RELEASES}/1.6.9"), mended);
    let (asked, _) = bench.pass(3000).await;
    let words: Vec<&str> = told(&asked).into_iter().map(|(reason, _)| reason).collect();
    assert_eq!(words, ["Valid"]);
}
