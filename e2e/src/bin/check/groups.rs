//! What `make test` runs, in which order, and what side by side.

use crate::suite::{Suite, cargo};

/// Test programs that need no mesh.
const API_SERVER: [&str; 7] = [
    "admission",
    "cluster",
    "control_plane",
    "crd_rules",
    "desired",
    "istiod",
    "operator",
];
/// Tests of upgrades.
const UPGRADES: &str = "upgrades::";
/// Those with as much load as an upgrade must bear, which are about half of them by time. They have the machine to themselves.
const LOADED: [&str; 5] = [
    WINDOWS,
    "upgrades::gateways::",
    "upgrades::overlap::",
    "upgrades::releases::",
    "upgrades::rollout_nodes::full::",
];
/// Upgrades that are about what somebody asks for: they count as bad input, and have as much load.
const WINDOWS: &str = "input_windows::";
/// What judges the logs of all the others, of both clusters.
const RIGHTS: &str = "zz_rights::";
/// What looks through one cluster for private keys: on each of them.
const SECRETS: &str = "zz_secrets::";

/// The clusters of the mesh tests: two, because without a load waiting on one leaves this machine idle for half of the time.
const CLUSTERS: [&str; 2] = ["mesh-test", "mesh-beside"];
/// The variable that names the cluster of mesh tests, and that of the one whose log is judged as well.
const CLUSTER: &str = "APPLINK_E2E_NAME";
const OTHER: &str = "APPLINK_E2E_BESIDE";

/// Test programs of the local cluster.
fn e2e(name: &'static str, arguments: &[&str]) -> Suite {
    let all = ["test", "--no-fail-fast", "-p", "e2e"];
    cargo(name, &[&all, arguments].concat())
}

/// Tests of the mesh one after the other, with these filters.
fn mesh(name: &'static str, cluster: &'static str, filters: &[&str]) -> Suite {
    let all = ["--test", "mesh", "--", "--test-threads=1"];
    e2e(name, &[&all, filters].concat())
        .with(CLUSTER, cluster)
        .by_module()
}

/// Takes a cluster away, if it is there (`down`), or starts it (`up`).
fn cluster(name: &'static str, cluster: &'static str, verb: &str) -> Suite {
    let run = ["run", "-p", "e2e", "--bin", "e2e", "--", verb];
    cargo(name, &run).with(CLUSTER, cluster).building()
}

fn skipping<'a>(modules: &[&'a str]) -> Vec<&'a str> {
    modules
        .iter()
        .flat_map(|module| ["--skip", module])
        .collect()
}

/// Every suite, the quickest to fail first. Those of one group run side by side.
pub fn groups() -> Vec<Vec<Suite>> {
    let mut groups: Vec<Vec<Suite>> = built_and_alone()
        .into_iter()
        .map(|suite| vec![suite])
        .collect();
    let [first, second] = CLUSTERS;
    // Of an earlier run; nothing of it is to be judged, or to take its share of the machine.
    groups.push(vec![cluster("the first cluster is gone", first, "down")]);
    groups.push(vec![cluster("the second cluster is gone", second, "down")]);
    groups.push(vec![cluster("the first cluster", first, "up")]);
    groups.push(vec![mesh("upgrades under load", first, &LOADED)]);
    // Not before: it takes a tenth of the machine as it stands there.
    groups.push(vec![
        cluster("the second cluster", second, "up").giving_way(),
    ]);
    let others = [&[UPGRADES, SECRETS][..], &skipping(&LOADED)].concat();
    groups.push(vec![
        mesh("the mesh", first, &skipping(&[UPGRADES, WINDOWS, RIGHTS])),
        mesh("other upgrades", second, &others).giving_way(),
    ]);
    groups.push(vec![mesh("rights", first, &[RIGHTS]).with(OTHER, second)]);
    let cargo_deny = cargo_deny();
    groups.push(vec![
        Suite::new("advisories", &cargo_deny, &["check", "advisories"])
            .counted_once()
            .only_with("APPLINK_ADVISORIES"),
    ]);
    groups.push(vec![
        mesh("upstream-ztunnel", first, &["upstream", "--ignored"]).only_with("UPSTREAM_ZTUNNEL"),
    ]);
    groups
}

/// `make` builds it and names it; by hand it is found in the path.
fn cargo_deny() -> String {
    std::env::var("CARGO_DENY").unwrap_or_else(|_| "cargo-deny".to_owned())
}

/// What needs no mesh.
fn built_and_alone() -> Vec<Suite> {
    let workspace = [
        "--workspace",
        "--exclude",
        "e2e",
        "--lib",
        "--bins",
        "--tests",
    ];
    let unit = [&["test", "--no-fail-fast"], &workspace[..]].concat();
    let api_server: Vec<&str> = API_SERVER
        .iter()
        .flat_map(|name| ["--test", name])
        .chain(["--", "--test-threads=1"])
        .collect();
    vec![
        cargo("format", &["fmt", "--all", "--check"]).building(),
        cargo(
            "lint",
            &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ],
        )
        .building(),
        Suite::new(
            "dependencies",
            &cargo_deny(),
            &["check", "bans", "licenses", "sources"],
        )
        .building(),
        cargo("test build", &["test", "--workspace", "--no-run"]).building(),
        // Unit tests of the node proxy make network namespaces, too.
        cargo(
            "packages of this machine",
            &["run", "-p", "e2e", "--bin", "e2e", "--", "prerequisites"],
        )
        .building(),
        cargo("unit, golden and property tests", &unit),
        e2e("the local cluster's own unit tests", &["--lib", "--bins"]),
        // What the real cluster runs is what users get.
        cargo(
            "release build",
            &["build", "--release", "-p", "applink", "-p", "shop"],
        )
        .building(),
        cargo(
            "programs of the local cluster",
            &[
                "run",
                "-p",
                "e2e",
                "--bin",
                "e2e",
                "--",
                "programs",
                "etcd",
                "coredns",
                "istio",
                "kubernetes",
            ],
        )
        .building(),
        // One at a time: each starts an API server on this machine.
        e2e("API server", &api_server),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_test_program_runs() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        let names = std::fs::read_dir(folder).unwrap().filter_map(|entry| {
            let path = entry.unwrap().path();
            let is_program =
                path.extension().is_some_and(|end| end == "rs") || path.join("main.rs").is_file();
            is_program.then(|| path.file_stem().unwrap().to_string_lossy().into_owned())
        });
        let expected = API_SERVER
            .iter()
            .chain(&["mesh"])
            .map(|name| (*name).to_owned());
        assert_eq!(names.collect::<BTreeSet<_>>(), expected.collect());
    }

    #[test]
    fn no_filter_is_a_part_of_another_one() {
        let all = [UPGRADES, WINDOWS, RIGHTS, SECRETS];
        for (at, one) in all.iter().enumerate() {
            let others = all.iter().enumerate().filter(|(place, _)| *place != at);
            for (_, other) in others {
                assert!(!other.contains(one), "{one} selects {other} as well");
            }
        }
    }

    #[test]
    fn every_module_that_is_named_is_there() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mesh");
        for module in [&LOADED[..], &[UPGRADES, RIGHTS, SECRETS]].concat() {
            let path = module.trim_end_matches("::").replace("::", "/");
            let file = folder.join(format!("{path}.rs"));
            assert!(file.is_file(), "{}", file.display());
        }
    }
}
