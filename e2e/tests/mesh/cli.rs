//! The command line against a mesh that runs.

use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::images::Image;
use e2e::stage::Stage;
use serde_json::Value;

use crate::fixture::{MEMBER, installed, on_stage, operator, until_operator};
use crate::keys::{found, private_keys};
use crate::running::data_plane;
use crate::told::until_healed;

/// Runs a program with the cluster's configuration: its exit code, and what it printed.
pub fn run(
    stage: &Stage,
    program: &Path,
    arguments: &[&str],
    path: &Path,
) -> (Option<i32>, String) {
    let rest = std::env::var_os("PATH").unwrap_or_default();
    let all = [path.to_owned()]
        .into_iter()
        .chain(std::env::split_paths(&rest));
    let output = Command::new(program)
        .env("KUBECONFIG", stage.cluster.kubeconfig())
        .env("PATH", std::env::join_paths(all).unwrap())
        .args(arguments)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// The same for the program under test.
pub fn applink(stage: &Stage, arguments: &[&str]) -> (Option<i32>, String) {
    run(stage, &stage.applink, arguments, Path::new("/"))
}

/// A folder of its own, gone with the cluster.
fn folder(stage: &Stage) -> PathBuf {
    let folder = stage.cluster.folder().join("cli");
    // From an earlier run.
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Logs that are in every bundle of two nodes, none of them empty: of which pods, of which container, and at least how many.
const LOGS: [(&str, &str, usize); 4] = [
    ("applink-system/logs/istiod-1-6-0-", "/discovery.log", 2),
    ("applink-system/logs/ztunnel-", "/istio-proxy.log", 2),
    ("applink-system/logs/istio-cni-node-", "/install-cni.log", 2),
    (
        "applink-operator/logs/applink-operator-",
        "/operator.log",
        1,
    ),
];

#[test]
fn what_is_installed_may_be_applied_again_by_the_program_itself() {
    on_stage(|stage| async move {
        installed(stage).await;
        until_healed(stage).await;
        let before = data_plane(stage);
        let image = Image::Applink.reference();
        let (code, text) = applink(stage, &["install", "--apply", "--image", &image]);
        assert_eq!(code, Some(0), "{text}");
        for word in [
            "customresourcedefinition meshmembers.applink.dev applied",
            "deployment applink-operator applied",
            "the operator runs",
        ] {
            assert!(text.contains(word), "{word}: {text}");
        }
        until_operator(stage).await;
        until_healed(stage).await;
        assert_eq!(data_plane(stage), before, "nobody was disturbed");
        // By whom it was applied matters to nobody afterwards.
        operator(stage).await;
    });
}

#[test]
fn a_support_bundle_has_what_helps_and_nothing_secret() {
    on_stage(|stage| async move {
        installed(stage).await;
        until_healed(stage).await;
        let folder = folder(stage);
        let file = folder.join("bundle.tar").display().to_string();
        let (code, text) = applink(stage, &["support-bundle", "--output", &file]);
        assert_eq!(code, Some(0), "{text}");
        let bytes = std::fs::read(&file).unwrap();
        let bundle = String::from_utf8_lossy(&bytes);
        assert_eq!(found(&bundle, &private_keys(stage).await), None);
        // Tokens begin with the header that they all share.
        for word in ["PRIVATE KEY", "eyJhbGciOi"] {
            assert!(!bundle.contains(word), "it contains {word}");
        }

        let tar = |arguments: &[&str]| {
            let (code, text) = run(stage, Path::new("tar"), arguments, Path::new("/"));
            assert_eq!(code, Some(0), "{text}");
            text
        };
        let names = tar(&["-tf", &file]);
        for wanted in [
            "about.txt",
            "status.txt",
            "meshmembers.yaml",
            "meshreleases.yaml",
            "nodes.yaml",
            "applink-system/pods.yaml",
            "applink-system/daemonsets.yaml",
            "applink-operator/deployments.yaml",
            "applink-system/config/ztunnel",
            "default/events.yaml",
        ] {
            assert!(names.contains(wanted), "{wanted} is missing:\n{names}");
        }
        for (pod, container, count) in LOGS {
            let is_of = |name: &&str| name.contains(pod) && name.ends_with(container);
            let logs: Vec<&str> = names.lines().filter(is_of).collect();
            assert!(logs.len() >= count, "{pod} {container}:\n{names}");
            for log in logs {
                assert!(!tar(&["-xOf", &file, log]).trim().is_empty(), "{log}");
            }
        }
        assert_eq!(tar(&["-xOf", &file, "applink-bundle/errors.txt"]), "none\n");
        let members = tar(&["-xOf", &file, "applink-bundle/meshmembers.yaml"]);
        assert!(
            members.contains("1.6.0") && members.contains(MEMBER),
            "{members}"
        );
    });
}

#[test]
fn commands_tell_of_the_cluster_and_work_as_a_plug_in_of_kubectl() {
    on_stage(|stage| async move {
        installed(stage).await;
        until_healed(stage).await;
        let good = |arguments: &[&str]| {
            let (code, text) = applink(stage, arguments);
            assert_eq!(code, Some(0), "{arguments:?}: {text}");
            text
        };
        let status: Value = serde_json::from_str(&good(&["status", "-o", "json"])).unwrap();
        let member = &status["members"][0];
        assert_eq!(member["metadata"]["name"], MEMBER);
        assert_eq!(member["status"]["version"]["current"], "1.6.0");
        let releases = good(&["releases"]);
        assert!(
            releases.contains("1.6.0") && releases.contains("1.31.0"),
            "{releases}"
        );
        let version = good(&["version"]);
        let own = format!("client: {}", env!("CARGO_PKG_VERSION"));
        let told = version
            .lines()
            .any(|line| line.starts_with("operator: ") && !line.contains("unknown"));
        assert!(version.contains(&own) && told, "{version}");
        let completion = good(&["completion", "bash"]);
        assert!(completion.contains("support-bundle"), "{completion}");

        let folder = folder(stage);
        std::os::unix::fs::symlink(&stage.applink, folder.join("kubectl-applink")).unwrap();
        let kubectl = stage.cluster.programs().join("kubectl");
        let (code, tree) = run(stage, &kubectl, &["applink", "status", MEMBER], &folder);
        assert!(code == Some(0) && tree.contains("ztunnel"), "{tree}");
        let (code, usage) = run(stage, &kubectl, &["applink", "--help"], &folder);
        assert!(
            code == Some(0) && usage.contains("Usage: kubectl applink"),
            "{usage}"
        );
    });
}
