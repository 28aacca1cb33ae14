//! The pods that look at every node on the way out: is anything of istio-cni left? They read two folders of the host,
//! write nothing, have no rights, and are ready when the node is clean.

use serde_json::json;

use crate::desired::Manifest;
use crate::leave::CHECK;
use crate::names;
use crate::plan::Object;
use crate::platform::Platform;

/// Where the host's folders are mounted.
const CONFIGURATION: &str = "/host/cni/conf";
const PROGRAMS: &str = "/host/cni/bin";

/// The `DaemonSet` of the check, for this member, image and platform.
pub fn object(member: &str, image: &str, platform: Platform) -> Object {
    let paths = platform.cni_paths();
    let labels = json!({"app": CHECK, names::MANAGED_BY_LABEL: names::MANAGED_BY});
    let arguments = [
        "verify-node-clean",
        "--conf",
        CONFIGURATION,
        "--bin",
        PROGRAMS,
    ];
    let mut probe = vec!["applink"];
    probe.extend(arguments);
    let mut hold: Vec<&str> = arguments.to_vec();
    hold.push("--hold");
    let folder = |name: &str, path: &str| json!({"name": name, "hostPath": {"path": path, "type": "DirectoryOrCreate"}});
    let mount = |name: &str, path: &str| json!({"name": name, "mountPath": path, "readOnly": true});
    let body = json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {
            "name": CHECK,
            "namespace": names::SYSTEM_NAMESPACE,
            "labels": {"app": CHECK, names::MANAGED_BY_LABEL: names::MANAGED_BY, names::MEMBER_LABEL: member},
        },
        "spec": {
            "selector": {"matchLabels": {"app": CHECK}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "automountServiceAccountToken": false,
                    "enableServiceLinks": false,
                    "terminationGracePeriodSeconds": 0,
                    "nodeSelector": {"kubernetes.io/os": "linux"},
                    "tolerations": [{"operator": "Exists"}],
                    "containers": [{
                        "name": "check",
                        "image": image,
                        "imagePullPolicy": "IfNotPresent",
                        "args": hold,
                        "readinessProbe": {"exec": {"command": probe}, "periodSeconds": 1, "timeoutSeconds": 2},
                        "resources": {"requests": {"cpu": "5m", "memory": "16Mi"}},
                        "securityContext": {
                            "allowPrivilegeEscalation": false,
                            "readOnlyRootFilesystem": true,
                            "runAsUser": 0,
                            "runAsNonRoot": false,
                            "capabilities": {"drop": ["ALL"], "add": ["DAC_READ_SEARCH"]},
                        },
                        "volumeMounts": [mount("conf", CONFIGURATION), mount("bin", PROGRAMS)],
                    }],
                    "volumes": [folder("conf", paths.conf), folder("bin", paths.bin)],
                },
            },
        },
    });
    let resource = super::world::resource(("apps", "v1", "DaemonSet", "daemonsets"));
    Object::of(Manifest {
        resource,
        namespace: Some(names::SYSTEM_NAMESPACE.to_owned()),
        name: CHECK.to_owned(),
        body,
        initial: None,
    })
}
