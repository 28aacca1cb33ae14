//! The control plane that API-server tests stand on.

use e2e::control_plane::ControlPlane;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, PostParams};

#[tokio::test]
async fn a_control_plane_stores_objects_audits_users_and_leaves_nothing() {
    let plane = ControlPlane::start().await.unwrap();
    let client = plane.client().await.unwrap();
    let version = client.apiserver_version().await.unwrap();
    assert_eq!(
        version.git_version,
        format!("v{}", e2e::programs::KUBERNETES)
    );
    let namespaces = Api::<Namespace>::all(client);
    assert!(namespaces.get("kube-system").await.is_ok());

    let nobody = plane.client_as("alice", None).await.unwrap();
    let maps = Api::<ConfigMap>::namespaced(nobody, "default");
    let refused = maps
        .create(&PostParams::default(), &ConfigMap::default())
        .await;
    assert!(matches!(refused, Err(kube::Error::Api(status)) if status.code == 403));
    let log = std::fs::read_to_string(plane.audit_log()).unwrap();
    assert!(
        log.lines()
            .any(|line| line.contains(r#""username":"alice""#)),
        "{log}"
    );

    let folder = plane.kubeconfig().parent().unwrap().to_owned();
    let port = plane
        .url()
        .rsplit_once(':')
        .unwrap()
        .1
        .parse::<u16>()
        .unwrap();
    plane.stop();
    assert!(!folder.exists());
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
}
