//! What gives a private key away, in whichever form it is written.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::stage::Stage;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;

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

pub fn found<'a>(text: &str, needles: &'a [String]) -> Option<&'a String> {
    needles.iter().find(|needle| text.contains(needle.as_str()))
}

/// What must be nowhere but in Secrets: what every private key has, and parts of those of the network and of the member.
pub async fn private_keys(stage: &Stage) -> Vec<String> {
    let root = ("applink-operator", "applink-root-default", "root-key.pem");
    let mut wanted: Vec<String> = marks().into();
    for (namespace, name, entry) in [root, ("applink-system", "cacerts", "ca-key.pem")] {
        let pem = key(stage, namespace, name, entry).await;
        let parts = needles(&pem);
        // What is looked for is there to be found.
        let one_line: String = pem.lines().collect();
        for part in &parts[..3] {
            assert!(pem.contains(part) || one_line.contains(part));
        }
        wanted.extend(parts);
    }
    wanted
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
