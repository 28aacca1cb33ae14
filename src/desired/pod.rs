//! Parts that pods of several components share.

use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, EnvVar, EnvVarSource, HTTPGetAction,
    HostPathVolumeSource, LocalObjectReference, ObjectFieldSelector, Probe, ProjectedVolumeSource,
    ResourceFieldSelector, SecurityContext, ServiceAccountTokenProjection, Volume, VolumeMount,
    VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::blueprint::Blueprint;
use crate::names;

/// Seconds a projected token lives. Source: Istio's charts.
const TOKEN_SECONDS: i64 = 43_200;
/// Audience istiod accepts. Source: Istio's charts.
const TOKEN_AUDIENCE: &str = "istio-ca";

/// An environment variable with a value.
pub(super) fn env(name: &str, value: impl Into<String>) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: Some(value.into()),
        value_from: None,
    }
}

/// An environment variable filled from a field of the pod.
pub(super) fn env_field(name: &str, path: &str) -> EnvVar {
    let field = ObjectFieldSelector {
        api_version: Some("v1".to_owned()),
        field_path: path.to_owned(),
    };
    from(
        name,
        EnvVarSource {
            field_ref: Some(field),
            ..EnvVarSource::default()
        },
    )
}

/// An environment variable filled from a request or limit of the container, e.g. `limits.cpu`, in whole units.
pub(super) fn env_resource(name: &str, resource: &str) -> EnvVar {
    let field = ResourceFieldSelector {
        resource: resource.to_owned(),
        divisor: Some(Quantity("1".to_owned())),
        ..ResourceFieldSelector::default()
    };
    from(
        name,
        EnvVarSource {
            resource_field_ref: Some(field),
            ..EnvVarSource::default()
        },
    )
}

fn from(name: &str, source: EnvVarSource) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(source),
    }
}

/// A directory of the host; `kind` as Kubernetes checks it, none for no check.
pub(super) fn host_path(name: &str, path: &str, kind: Option<&str>) -> Volume {
    let host_path = HostPathVolumeSource {
        path: path.to_owned(),
        type_: kind.map(str::to_owned),
    };
    Volume {
        name: name.to_owned(),
        host_path: Some(host_path),
        ..Volume::default()
    }
}

/// A service account token for istiod, as file `istio-token`.
pub(super) fn istio_token() -> Volume {
    let token = ServiceAccountTokenProjection {
        audience: Some(TOKEN_AUDIENCE.to_owned()),
        expiration_seconds: Some(TOKEN_SECONDS),
        path: "istio-token".to_owned(),
    };
    let source = VolumeProjection {
        service_account_token: Some(token),
        ..VolumeProjection::default()
    };
    let projected = ProjectedVolumeSource {
        sources: Some(vec![source]),
        ..ProjectedVolumeSource::default()
    };
    Volume {
        name: "istio-token".to_owned(),
        projected: Some(projected),
        ..Volume::default()
    }
}

/// istiod's root certificate, as file `root-cert.pem`. The pod waits for the ConfigMap unless it is optional.
pub(super) fn root_certificate(name: &str, optional: Option<bool>) -> Volume {
    let config_map = ConfigMapVolumeSource {
        name: names::ROOT_CONFIG_MAP.to_owned(),
        optional,
        ..ConfigMapVolumeSource::default()
    };
    Volume {
        name: name.to_owned(),
        config_map: Some(config_map),
        ..Volume::default()
    }
}

/// A volume at a path.
pub(super) fn mount(volume: &str, path: &str) -> VolumeMount {
    VolumeMount {
        name: volume.to_owned(),
        mount_path: path.to_owned(),
        ..VolumeMount::default()
    }
}

/// A volume at a path, read-only.
pub(super) fn mount_read_only(volume: &str, path: &str) -> VolumeMount {
    VolumeMount {
        read_only: Some(true),
        ..mount(volume, path)
    }
}

/// An HTTP probe with the server's default timings.
pub(super) fn http_probe(path: &str, port: u16) -> Probe {
    let http_get = HTTPGetAction {
        path: Some(path.to_owned()),
        port: IntOrString::Int(port.into()),
        ..HTTPGetAction::default()
    };
    Probe {
        http_get: Some(http_get),
        ..Probe::default()
    }
}

/// A readiness probe of what a node waits for: closed while its agent is not Ready. With the server's ten seconds between two probes
/// a first one that is missed, on a busy node, costs all of these; here it costs two, and Ready is lost after half a minute as by default.
pub(super) fn readiness_probe(path: &str, port: u16) -> Probe {
    Probe {
        period_seconds: Some(2),
        failure_threshold: Some(15),
        ..http_probe(path, port)
    }
}

/// Asks every second until the container has started; the readiness probe, which asks less often, begins then. Without it a
/// container that starts just after its first probe is Ready only at the next one, up to 10 s later. Whoever has not
/// started after an hour is started anew.
pub(super) fn startup_probe(readiness: &Probe) -> Probe {
    Probe {
        http_get: readiness.http_get.clone(),
        failure_threshold: Some(3600),
        period_seconds: Some(1),
        timeout_seconds: readiness.timeout_seconds,
        ..Probe::default()
    }
}

/// Capabilities: nothing but these.
pub(super) fn only(capabilities: &[&str]) -> Capabilities {
    let add = capabilities
        .iter()
        .map(|&name| name.to_owned())
        .collect::<Vec<_>>();
    Capabilities {
        add: (!add.is_empty()).then_some(add),
        drop: Some(vec!["ALL".to_owned()]),
    }
}

/// What a container needs that needs nothing of the host.
pub(super) fn unprivileged() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(only(&[])),
        read_only_root_filesystem: Some(true),
        run_as_non_root: Some(true),
        ..SecurityContext::default()
    }
}

/// A container that leaves the end of its log in its status when it fails: the reason is then in the pod, where the
/// operator reads it, and not in a log nobody kept.
pub(super) fn container(name: &str, image: &impl ToString) -> Container {
    Container {
        name: name.to_owned(),
        image: Some(image.to_string()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Container::default()
    }
}

/// The copy of the pull secrets as pods and service accounts name it; none when there are none.
pub(super) fn pull_secrets(blueprint: &Blueprint) -> Option<Vec<LocalObjectReference>> {
    (!blueprint.pull_secrets.is_empty()).then(|| {
        vec![LocalObjectReference {
            name: names::PULL_SECRET.to_owned(),
        }]
    })
}
