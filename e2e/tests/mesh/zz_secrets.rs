//! Private keys are in their Secrets and nowhere else: what the other tests made the mesh say is looked through, as
//! far as it is there still.
//!
//! It comes after them for the same reason as [`crate::zz_rights`].

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use crate::fixture::{installed, on_stage};
use crate::keys::{found, private_keys};

#[test]
fn no_private_key_is_in_a_log_an_event_a_status_or_anything_but_its_secret() {
    on_stage(|stage| async move {
        installed(stage).await;
        let wanted = private_keys(stage).await;
        let kubectl = |arguments: &[&str]| stage.cluster.kubectl(arguments).unwrap();
        let secrets = kubectl(&["get", "secrets", "-A", "-o", "json"]);
        for needle in [&wanted[1], &wanted[6], &wanted[11]] {
            assert!(secrets.contains(needle.as_str()), "{needle}");
        }

        let mut places: Vec<(String, String)> = Vec::new();
        for kinds in [
            "events",
            "meshmembers,applicationnetworks,meshreleases",
            "configmaps,pods,deployments,daemonsets",
        ] {
            places.push((
                kinds.to_owned(),
                kubectl(&["get", kinds, "-A", "-o", "json"]),
            ));
        }
        let logs = ["sh", "-c", "cat /var/log/pods/applink-*/*/*.log"];
        for node in ["node-1", "node-2"] {
            let text = stage.cluster.run_on(node, &logs).unwrap();
            places.push((format!("logs of {node}"), text));
        }
        for (place, text) in &places {
            assert!(text.len() > 1000, "{place} says nothing: {text}");
            assert_eq!(found(text, &wanted), None, "{place} gives a key away");
        }
        let all: String = places.into_iter().map(|(_, text)| text).collect();
        for word in ["\"leading\"", "MeshMember", "xds", "istiod"] {
            assert!(
                all.contains(word),
                "{word} is missing: was everything read?"
            );
        }
        let audit = stage.cluster.audit_log();
        let outside = stage.cluster.folder().join("sweep/operator.log");
        for path in [audit.as_path(), outside.as_path()] {
            for line in lines(path) {
                assert_eq!(
                    found(&line, &wanted),
                    None,
                    "{} gives a key away",
                    path.display()
                );
            }
        }
    });
}

/// The lines of a file; none when nobody has written it in this run.
fn lines(path: &Path) -> impl Iterator<Item = String> + use<> {
    let file = File::open(path).ok().map(BufReader::new);
    file.into_iter()
        .flat_map(|file| file.lines().map_while(Result::ok))
}
