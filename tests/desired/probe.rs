//! The pods of the operator's own probe, whole: no case of the data plane's, as nothing of a spec is in them.

use std::path::Path;

use applink::blueprint::Owner;
use applink::desired::probe::{Role, pod};

use crate::written;

#[test]
fn pods_of_the_probe_are_what_they_always_were() {
    let owner = Owner {
        name: "edge-1".to_owned(),
        uid: "6f1d6f0e-2a55-4f5e-9a8e-4f0c1b7c9d11".to_owned(),
    };
    let of = |role, node| pod(&owner, "registry.applink.dev/applink:1.5.0", role, node).unwrap();
    let pods = [of(Role::Node, "a.example"), of(Role::Peer(0), "b.example")];
    let found = written(&pods, &[]);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/probe/out.yaml");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        found, expected,
        "if it is meant, run with UPDATE_GOLDEN=1 and read the difference"
    );
}
