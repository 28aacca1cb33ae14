//! A golden case: inputs as people write them, and the objects they lead to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use applink::api::v1alpha1::{
    ApplicationNetworkSpec, KubernetesRange, MeshMember, MeshMemberSpec, MeshRelease,
    MeshReleaseSpec,
};
use applink::blueprint::resolve::{Surroundings, blueprint};
use applink::blueprint::{Blueprint, IpFamilies};
use applink::catalogue::Release;
use applink::desired::{self, Manifest, Placement};
use applink::platform::Platform;
use serde::Deserialize;

/// `in.yaml` of a case.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Case {
    /// Our version; 1.6.0 when absent.
    version: Option<String>,
    /// The Istio version; 1.31.0 when absent.
    istio: Option<String>,
    /// Specification of the member.
    member: MeshMemberSpec,
    /// Specification of the network.
    network: ApplicationNetworkSpec,
    /// Platform found.
    platform: Option<Platform>,
    /// Some addresses of pods.
    pod_addresses: Vec<String>,
    /// Least replicas of an autoscaler of somebody else.
    autoscaler_least: Option<i32>,
    /// The proxy arrives beside another revision.
    arriving: bool,
    /// The proxy is settled while this revision arrives.
    beside: Option<String>,
}

impl Case {
    /// The case in a folder.
    pub fn read(folder: &Path) -> Self {
        let path = folder.join("in.yaml");
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The blueprint the inputs lead to.
    pub fn blueprint(&self) -> Blueprint {
        let mut member = MeshMember::new("edge-1", self.member.clone());
        member.metadata.uid = Some("6f1d6f0e-2a55-4f5e-9a8e-4f0c1b7c9d11".to_owned());
        let version = self.version.as_deref().unwrap_or("1.6.0");
        let release = MeshRelease::new(
            version,
            MeshReleaseSpec {
                istio_version: self.istio.clone().unwrap_or_else(|| "1.31.0".to_owned()),
                kubernetes: KubernetesRange {
                    min: "1.31".to_owned(),
                    max: "1.36".to_owned(),
                },
                ..MeshReleaseSpec::default()
            },
        );
        let surroundings = Surroundings {
            platform: self
                .member
                .data_plane
                .as_ref()
                .and_then(|plane| plane.platform)
                .or(self.platform)
                .unwrap_or_default(),
            families: IpFamilies::of(self.pod_addresses.iter().map(String::as_str)),
            cluster_domain: None,
            autoscaler_least: self.autoscaler_least,
        };
        blueprint(
            &member,
            &self.network,
            &Release::read(&release).unwrap(),
            &surroundings,
        )
        .unwrap()
    }

    /// Every object, in the order of the install steps.
    pub fn objects(&self) -> Vec<Manifest> {
        let blueprint = self.blueprint();
        let placement = match &self.beside {
            Some(revision) => Placement::Except(revision.parse().unwrap()),
            None if self.arriving => Placement::Only(desired::revision(&blueprint).unwrap()),
            None => Placement::Everywhere,
        };
        [
            desired::foundation(&blueprint),
            desired::control_plane(&blueprint),
            desired::agent(&blueprint),
            desired::proxy(&blueprint, &placement),
            desired::mesh_policy(&blueprint),
        ]
        .into_iter()
        .flat_map(Result::unwrap)
        .collect()
    }
}

/// Folders of all cases, by name.
pub fn folders() -> BTreeMap<String, PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let golden = [root.join("tests/golden"), root.join("../tests/golden")]
        .into_iter()
        .find(|path| path.is_dir())
        .unwrap();
    std::fs::read_dir(golden)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("in.yaml").is_file())
        .map(|path| {
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                path,
            )
        })
        .collect()
}
