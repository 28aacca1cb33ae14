//! The configuration files of a node's programs, as text. Pure.

use std::net::Ipv4Addr;
use std::path::Path;

use serde_json::json;

/// The image that holds a pod's namespaces.
pub const PAUSE: &str = "localhost/applink/pause:1";

/// containerd's configuration. Scores below zero need a right that root in a container lacks.
pub const CONTAINERD: &str = r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
oom_score = 0
disabled_plugins = [
  "io.containerd.internal.v1.opt",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]

[grpc]
  address = "/run/containerd/containerd.sock"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/applink/pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
"#;

/// The CNI configuration: a bridge per node, addresses handed out per node and forgotten with it.
pub fn cni(pods: &str) -> String {
    format!(
        "{:#}\n",
        json!({
            "cniVersion": "0.4.0",
            "name": "pods",
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": "pods",
                    "isGateway": true,
                    "hairpinMode": true,
                    "ipMasq": false,
                    "ipam": {
                        "type": "host-local",
                        "dataDir": "/run/cni/networks",
                        "ranges": [[{"subnet": pods}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                    },
                },
                {"type": "portmap", "capabilities": {"portMappings": true}},
            ],
        })
    )
}

/// The kubelet's configuration. Nothing is evicted and no image is collected: the disk is the
/// host's, and what else lies on it must not decide about pods.
pub fn kubelet(authority: &Path, resolv_conf: &Path, cgroup: &str, dns: Ipv4Addr) -> String {
    format!(
        "{:#}\n",
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": false},
                "webhook": {"enabled": true},
                "x509": {"clientCAFile": authority},
            },
            "authorization": {"mode": "Webhook"},
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "clusterDomain": "cluster.local",
            "clusterDNS": [dns],
            "resolvConf": resolv_conf,
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": cgroup,
            "failSwapOn": false,
            "localStorageCapacityIsolation": false,
            "oomScoreAdj": 0,
            "evictionHard": {
                "imagefs.available": "0%",
                "imagefs.inodesFree": "0%",
                "memory.available": "0%",
                "nodefs.available": "0%",
                "nodefs.inodesFree": "0%",
            },
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "serializeImagePulls": false,
            "registryPullQPS": 0,
            "eventRecordQPS": 0,
            "nodeStatusUpdateFrequency": "4s",
            "nodeLeaseDurationSeconds": 20,
            "syncFrequency": "10s",
            "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        })
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containerd_holds_pods_with_the_image_that_is_loaded() {
        assert!(CONTAINERD.contains(PAUSE));
    }

    #[test]
    fn a_kubelet_keeps_to_its_nodes_group_and_dns() {
        let text = kubelet(
            Path::new("/a/ca.crt"),
            Path::new("/a/resolv.conf"),
            "/g/node-1",
            Ipv4Addr::new(10, 0, 0, 10),
        );
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["cgroupRoot"], "/g/node-1");
        assert_eq!(value["clusterDNS"], json!(["10.0.0.10"]));
    }

    #[test]
    fn pods_get_addresses_of_their_node() {
        let value: serde_json::Value = serde_json::from_str(&cni("10.1.17.0/24")).unwrap();
        assert_eq!(
            value["plugins"][0]["ipam"]["ranges"][0][0]["subnet"],
            "10.1.17.0/24"
        );
    }
}
