//! The operator taken away under a running mesh, with its manifests or with its namespace.

use std::time::Duration;

use e2e::command::{command, output};
use e2e::images::Image;
use e2e::stage::{self, Stage};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Api, DeleteParams, PostParams};

use crate::fixture::{INSTALL, MEMBER, SOON, on_stage, operator, remove_namespace, until_operator};
use crate::running::{data_plane, new_pods_start, talking_shop, talks};
use crate::told::{until_event, until_healed, until_stalled};

const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests");
const HOME: &str = "applink-operator";
const ROOT: &str = "applink-root-default";

fn kubectl(stage: &Stage, arguments: &[&str]) -> Result<String, String> {
    let answer = stage.cluster.kubectl(arguments);
    answer.map_err(|error| e2e::command::chain(&error))
}

async fn until_no_operator(stage: &Stage) {
    let get = ["get", "deployments,pods", "-n", HOME, "-o", "name"];
    stage::eventually("no operator runs", INSTALL, || async {
        let found = kubectl(stage, &get)?;
        found.is_empty().then_some(()).ok_or(found)
    })
    .await
    .unwrap();
}

/// Applies the kustomize base, its image set as `kustomize edit set image` does.
fn apply_base(stage: &Stage) {
    let folder = e2e::process::temporary_folder("base").unwrap();
    for part in ["manifests", "crds"] {
        let from = format!("{MANIFESTS}/../{part}");
        let mut copy = command("cp", ["-r", &from]);
        output(copy.arg(&folder)).unwrap();
    }
    let path = folder.join("manifests/kustomization.yaml");
    let image = Image::Applink.reference();
    let (name, tag) = image.rsplit_once(':').unwrap();
    let text: Vec<String> = std::fs::read_to_string(&path)
        .unwrap()
        .lines()
        .map(|line| match line.split_once(": ") {
            Some((key @ "  newName", _)) => format!("{key}: {name}"),
            Some((key @ "  newTag", _)) => format!("{key}: {tag}"),
            _ => line.to_owned(),
        })
        .collect();
    std::fs::write(&path, text.join("\n")).unwrap();
    let base = folder.join("manifests").display().to_string();
    kubectl(stage, &["apply", "--server-side", "-k", &base]).unwrap();
    std::fs::remove_dir_all(folder).unwrap();
}

/// Something of the mesh that nobody misses at once is deleted, and there again soon.
async fn repairs(stage: &Stage) {
    let budget = ["pdb", "-n", "applink-system", "-l", "app=istiod"];
    let with = |verb: &str| {
        let mut arguments = vec![verb];
        arguments.extend(budget);
        arguments.extend(["-o", "name"]);
        kubectl(stage, &arguments)
    };
    let wanted = with("get").unwrap();
    assert!(wanted.contains("poddisruptionbudget"), "{wanted}");
    with("delete").unwrap();
    stage::eventually("what is missing is made anew", INSTALL, || async {
        let found = with("get")?;
        (found == wanted).then_some(()).ok_or(found)
    })
    .await
    .unwrap();
}

#[test]
fn deleting_the_manifests_takes_the_operator_only_and_applying_them_again_resumes() {
    on_stage(|stage| async move {
        let namespace = "unattended";
        talking_shop(stage, namespace).await;
        let before = data_plane(stage);
        let refused = kubectl(stage, &["delete", "-k", MANIFESTS]).unwrap_err();
        for word in [
            "applink-system",
            "applink-operator",
            "meshmembers.applink.dev",
            "kubectl delete meshmember local",
        ] {
            assert!(refused.contains(word), "{word} is missing:\n{refused}");
        }
        until_no_operator(stage).await;
        let member = stage.read_member(MEMBER).await.unwrap();
        assert_eq!(member.metadata.deletion_timestamp, None);
        talks(stage, namespace, "web").await;
        new_pods_start(stage, namespace, "unattended").await;
        assert_eq!(data_plane(stage), before, "nobody was disturbed");

        apply_base(stage);
        until_operator(stage).await;
        repairs(stage).await;
        until_healed(stage).await;
        assert_eq!(data_plane(stage), before, "nobody was disturbed");
        // What the program prints is the same.
        let spec = || {
            let path = "jsonpath={.metadata.uid} {.metadata.generation}";
            let get = [
                "get",
                "deployment",
                "applink-operator",
                "-n",
                HOME,
                "-o",
                path,
            ];
            kubectl(stage, &get).unwrap()
        };
        let applied = spec();
        operator(stage).await;
        assert_eq!(spec(), applied);
        remove_namespace(stage, namespace).await;
    });
}

#[test]
fn a_lost_namespace_of_the_operator_leaves_the_mesh_running_and_its_root_is_asked_for_not_made() {
    on_stage(|stage| async move {
        let namespace = "rootless";
        talking_shop(stage, namespace).await;
        let before = data_plane(stage);
        let namespaces: Api<Namespace> = Api::all(stage.client.clone());
        let dry = DeleteParams {
            dry_run: true,
            ..DeleteParams::default()
        };
        for name in ["applink-system", HOME] {
            let refused = namespaces.delete(name, &dry).await.unwrap_err().to_string();
            assert!(
                refused.contains(name) && refused.contains("kubectl delete meshmember local"),
                "{refused}"
            );
        }
        let secrets: Api<Secret> = Api::namespaced(stage.client.clone(), HOME);
        let mut root = secrets.get(ROOT).await.unwrap();
        root.metadata.resource_version = None;
        root.metadata.uid = None;

        // Somebody insists.
        let policy = "validatingadmissionpolicybinding";
        kubectl(stage, &["delete", policy, "applink-keep-namespaces"]).unwrap();
        stage::eventually("nothing keeps the namespace", SOON, || async {
            let answer = namespaces.delete(HOME, &dry).await;
            answer.map(|_| ()).map_err(|error| error.to_string())
        })
        .await
        .unwrap();
        remove_namespace(stage, HOME).await;
        talks(stage, namespace, "web").await;
        new_pods_start(stage, namespace, "rootless").await;

        let since = Timestamp::now();
        operator(stage).await;
        let words = ["applink-operator/applink-root-default", "restore"];
        until_stalled(stage, "RootMissing", &words).await;
        until_event(stage, since, "RootMissing", &words).await;
        stage
            .until_condition(MEMBER, "Ready", "True", Duration::from_secs(10))
            .await
            .unwrap();
        let found = secrets.get_opt(ROOT).await.unwrap();
        assert!(found.is_none(), "a root was made anew");

        secrets.create(&PostParams::default(), &root).await.unwrap();
        until_healed(stage).await;
        assert_eq!(data_plane(stage), before, "nobody was disturbed");
        repairs(stage).await;
        remove_namespace(stage, namespace).await;
    });
}
