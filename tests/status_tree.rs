//! `applink status` as text: fixtures in, golden trees out. `UPDATE_GOLDEN=1` rewrites them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed test is the report"
)]

use std::path::Path;

use applink::cli::snapshot::Snapshot;
use applink::cli::status::render;

fn golden(case: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli");
    let input = std::fs::read_to_string(folder.join(format!("{case}.yaml"))).unwrap();
    let snapshot: Snapshot = serde_saphyr::from_str(&input).unwrap();
    let text = render(&snapshot, "2026-11-21T12:00:00Z".parse().unwrap());
    let expected = folder.join(format!("{case}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&expected, &text).unwrap();
    }
    assert_eq!(
        text,
        std::fs::read_to_string(&expected).unwrap_or_default(),
        "{case}"
    );
}

#[test]
fn a_ready_member_shows_everything_it_stands_on() {
    golden("ready");
}

#[test]
fn an_install_in_progress_says_what_it_waits_for() {
    golden("installing");
}

#[test]
fn a_stalled_member_says_what_to_do_first() {
    golden("stalled");
}

#[test]
fn a_cluster_without_members_says_how_to_make_one() {
    golden("empty");
}
