//! Whether a proxy holds a certificate of the mesh for every identity of its node's workloads, read from what it says of
//! them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;

use super::signing::Mesh;
use crate::trust::Fingerprint;

/// Digits of a fingerprint that tell it from others.
const SHORT: usize = 16;

/// Identities without a certificate that is valid now and under a root of this mesh, each with why not. `body` is a list of
/// them, or a dump that holds one.
///
/// Our proxy tells the fingerprint of the root that each chain ends in, which it has verified. Upstream's, and ours in its
/// dump, tells the chain itself. One of ours that is too old for that tells neither, and is taken at its word.
///
/// # Errors
/// When the answer cannot be read.
pub(super) fn uncertified(body: &[u8], mesh: &Mesh, now: Timestamp) -> Result<Vec<String>, String> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| format!("the certificates are no JSON: {error}"))?;
    let list = value
        .as_array()
        .or_else(|| value.get("certificates").and_then(Value::as_array))
        .ok_or("there is no list of certificates")?;
    let roots: Vec<Fingerprint> = (mesh.roots.iter())
        .map(|root| Fingerprint::of(root))
        .collect();
    Ok(list
        .iter()
        .filter_map(|entry| {
            let why = defect(entry, &roots, mesh, now)?;
            let identity = entry.get("identity").and_then(Value::as_str);
            Some(format!("{} ({why})", identity.unwrap_or_default()))
        })
        .collect())
}

/// What is wrong with one of them.
fn defect(entry: &Value, roots: &[Fingerprint], mesh: &Mesh, now: Timestamp) -> Option<String> {
    let state = entry.get("state").and_then(Value::as_str);
    if state != Some("Available") {
        return Some(state.unwrap_or_default().to_owned());
    }
    let until = entry.get("notAfter").and_then(Value::as_str);
    if let Some(ended) = until.and_then(|text| text.parse::<Timestamp>().ok())
        && ended <= now
    {
        return Some(format!("ended at {ended:.0}"));
    }
    // Without a root of its own nothing can be said of anybody else's: the operator is stalled by that.
    if roots.is_empty() {
        return None;
    }
    match entry.get("root") {
        Some(Value::String(root)) => {
            let is_ours = roots.contains(&Fingerprint::recorded(root));
            let short = root.get(..SHORT).unwrap_or(root);
            (!is_ours).then(|| format!("under root {short}, which is not the mesh's"))
        }
        Some(_) => Some("under none of the roots that came with it".to_owned()),
        None => {
            let chain = chain(entry.get("certChain")?);
            mesh.holds(&chain).err()
        }
    }
}

/// The certificates of a dump: each with its PEM text in base 64. What cannot be read is left out, which verification tells.
fn chain(list: &Value) -> Vec<CertificateDer<'static>> {
    let texts = list.as_array().into_iter().flatten();
    texts
        .filter_map(|one| STANDARD.decode(one.get("pem")?.as_str()?).ok())
        .filter_map(|pem| CertificateDer::from_pem_slice(&pem).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::operator::signing::tests::{identity, mesh_of, mint, signed};

    fn now() -> Timestamp {
        Timestamp::now()
    }

    fn told(list: &Value, mesh: &Mesh) -> Vec<String> {
        let told = uncertified(list.to_string().as_bytes(), mesh, now()).unwrap();
        let dump = json!({ "certificates": list }).to_string();
        assert_eq!(uncertified(dump.as_bytes(), mesh, now()).unwrap(), told);
        told
    }

    #[test]
    fn identities_without_a_certificate_are_named_with_their_state() {
        let list = json!([
            {"identity": "a", "state": "Available"},
            {"identity": "b", "state": "Unavailable: no"},
            {"identity": "c"},
        ]);
        let expected = ["b (Unavailable: no)", "c ()"];
        assert_eq!(told(&list, &Mesh::default()), expected);
        // One of ours from before roots were told is taken at its word.
        assert_eq!(told(&list, &mesh_of(&mint())), expected);
        for no_list in ["{}", "<html>"] {
            assert!(uncertified(no_list.as_bytes(), &Mesh::default(), now()).is_err());
        }
    }

    #[test]
    fn a_certificate_that_has_ended_or_is_under_another_root_is_none_of_the_mesh() {
        let mesh = mesh_of(&mint());
        let root = Fingerprint::of(&mesh.roots[0]);
        let other = Fingerprint::of(&mesh_of(&mint()).roots[0]);
        let entry = |name: &str, root: Value, until: &str| json!({"identity": name, "state": "Available", "root": root, "notAfter": until});
        let later = "2126-01-01T00:00:00Z";
        let list = json!([
            entry("a", json!(root.as_str()), later),
            entry("b", json!(other.as_str()), later),
            entry("c", Value::Null, later),
            entry("d", json!(root.as_str()), "2026-01-01T00:00:00Z"),
        ]);
        let short = &other.as_str()[..16];
        assert_eq!(
            told(&list, &mesh),
            [
                format!("b (under root {short}, which is not the mesh's)"),
                "c (under none of the roots that came with it)".to_owned(),
                "d (ended at 2026-01-01T00:00:00Z)".to_owned(),
            ]
        );
        // Nobody can tell what is another's without a root of one's own.
        assert_eq!(told(&list, &Mesh::default()).len(), 1);
    }

    #[test]
    fn a_chain_in_a_dump_is_verified_under_the_root_of_the_mesh() {
        let (own, other) = (mint(), mint());
        let entry = |chain: &[CertificateDer<'static>]| {
            let pem = |der: &CertificateDer<'static>| {
                let text = format!(
                    "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
                    STANDARD.encode(der)
                );
                json!({ "pem": STANDARD.encode(text) })
            };
            let chain: Vec<Value> = chain.iter().map(pem).collect();
            json!([{"identity": "a", "state": "Available", "certChain": chain}])
        };
        let held = signed(&own, &identity());
        assert!(told(&entry(held.chain()), &mesh_of(&own)).is_empty());
        for (chain, mesh) in [
            (held.chain(), &other),
            (&held.chain()[..1], &own),
            (&[], &own),
        ] {
            let told = told(&entry(chain), &mesh_of(mesh));
            assert!(told[0].starts_with("a (not one of the mesh: "), "{told:?}");
        }
    }
}
