//! Private keys are in their Secrets and nowhere else: what all the other tests made the mesh say is looked through.
//!
//! It comes after them for the same reason as [`crate::zz_rights`].

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::stage::Stage;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;

use crate::fixture::{installed, on_stage};

/// What every P-256 key in PKCS #8 begins with, up to its secret number: 36 bytes, 48 characters of base64.
/// Source: RFC 5208, RFC 5915.
const PREFIX: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg";
/// Characters of base64 that hold nothing but the secret number: 30 of its 32 bytes.
const NUMBER: std::ops::Range<usize> = PREFIX.len()..PREFIX.len() + 40;
/// A line of PEM.
const LINE: usize = 64;

/// Texts that give a key away: parts of its secret number in each form that it may be written in.
fn needles(pem: &str) -> Vec<String> {
    let body: String = pem.lines().filter(|line| !line.contains("-----")).collect();
    assert!(body.starts_with(PREFIX), "another form of key");
    let der = STANDARD.decode(&body).unwrap();
    // A Secret is written as base64 of the PEM: whole groups of three bytes from the second line on.
    let from = (pem.find('\n').unwrap() + 1 + LINE + 1).next_multiple_of(3);
    let twice = STANDARD.encode(&pem.as_bytes()[from..from + 18]);
    vec![
        body[NUMBER].to_owned(),
        body[NUMBER.start..LINE].to_owned(),
        body[LINE..NUMBER.end].to_owned(),
        hex(&der[36..66]),
        twice,
    ]
}

fn hex(bytes: &[u8]) -> String {
    let halves = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    halves
        .filter_map(|half| char::from_digit(half.into(), 16))
        .collect()
}

/// What no private key can be written without.
fn marks() -> [String; 2] {
    [
        "PRIVATE KEY-----".to_owned(),
        STANDARD.encode("-----BEGIN PRIVATE KEY-----")[..32].to_owned(),
    ]
}

async fn key(stage: &Stage, namespace: &str, name: &str, entry: &str) -> String {
    let secrets: Api<Secret> = Api::namespaced(stage.client.clone(), namespace);
    let data = secrets.get(name).await.unwrap().data.unwrap();
    String::from_utf8(data[entry].0.clone()).unwrap()
}

fn found<'a>(text: &str, needles: &'a [String]) -> Option<&'a String> {
    needles.iter().find(|needle| text.contains(needle.as_str()))
}

#[test]
fn no_private_key_is_in_a_log_an_event_a_status_or_anything_but_its_secret() {
    on_stage(|stage| async move {
        installed(stage).await;
        let root = key(
            stage,
            "applink-operator",
            "applink-root-default",
            "root-key.pem",
        )
        .await;
        let own = key(stage, "applink-system", "cacerts", "ca-key.pem").await;
        let mut wanted: Vec<String> = marks().into();
        for pem in [&root, &own] {
            let parts = needles(pem);
            // What is looked for is there to be found.
            let one_line: String = pem.lines().collect();
            for part in &parts[..3] {
                assert!(pem.contains(part) || one_line.contains(part));
            }
            wanted.extend(parts);
        }
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

#[test]
fn a_key_is_found_in_each_form_it_may_be_written_in() {
    let now = jiff::Timestamp::now();
    let root = applink::trust::Authority::mint("x", now).unwrap();
    let pem = String::from_utf8(root.secret_data()["root-key.pem"].clone()).unwrap();
    let wanted = needles(&pem);
    let body: String = pem.lines().filter(|line| !line.contains("-----")).collect();
    let der = STANDARD.decode(&body).unwrap();
    for text in [
        pem.clone(),
        format!("{pem:?}"),
        body.clone(),
        STANDARD.encode(&pem),
        hex(&der),
    ] {
        assert!(found(&text, &wanted).is_some(), "{text}");
    }
    // Its public half is in every certificate.
    let (_, public) = body.split_at(NUMBER.end + 4);
    assert_eq!(found(public, &wanted), None);
}
