//! What installs the operator: the objects of `manifests/`, `install.yaml` and `applink install`, from one source.
//!
//! Pure: a [`Choice`] in, objects out, in an order that can be applied from top to bottom. `applink manifests` writes the
//! files below `manifests/`; a test compares them.

mod admission;
mod alerts;
mod namespaces;
mod operator;
mod rbac;

use serde_json::{Value, json};

pub use operator::NAME as OPERATOR;
pub use rbac::FORBIDDEN_EVERYWHERE;

/// The image that stands in the manifests until kustomize or `--image` names another.
pub const IMAGE: &str = concat!("registry.applink.dev/applink:", env!("CARGO_PKG_VERSION"));

/// What a user may choose about the installation itself; everything about the mesh is in a MeshMember.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Image of the operator, with tag or digest.
    pub image: String,
    /// Name of a MeshMember to install along, if any, and the version it pins.
    pub member: Option<Member>,
}

/// The MeshMember that `applink install --member` adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// `upgrade.version`; the operator's own default when absent.
    pub version: Option<String>,
}

impl Default for Choice {
    fn default() -> Self {
        Self {
            image: IMAGE.to_owned(),
            member: None,
        }
    }
}

/// One file below `manifests/`.
#[derive(Debug)]
pub struct File {
    /// Its name.
    pub name: &'static str,
    /// What it is about, as a comment on top.
    pub about: &'static str,
    /// The objects in it, in the order they are applied.
    pub objects: Vec<Value>,
}

/// The files of the kustomize base, in the order in which their objects are applied. CRDs are in `crds/`, beside it.
pub fn files(choice: &Choice) -> Vec<File> {
    vec![
        File {
            name: "namespaces.yaml",
            about: "the operator's namespace, the data plane's, and that of the operator's own probe",
            objects: namespaces::objects(),
        },
        File {
            name: "component-roles.yaml",
            about: "what the components of the mesh may do; the operator binds these and cannot widen them",
            objects: rbac::components(),
        },
        File {
            name: "operator-rbac.yaml",
            about: "what the operator may do",
            objects: rbac::operator(),
        },
        File {
            name: "admission.yaml",
            about: "deletions that would break a running mesh are refused",
            objects: admission::objects(),
        },
        File {
            name: "operator.yaml",
            about: "the operator",
            objects: operator::objects(&choice.image),
        },
    ]
}

/// Files that somebody may want beside the base, and that not every cluster takes.
pub fn extras() -> Vec<File> {
    vec![File {
        name: "alerts.yaml",
        about: "alert rules, where the Prometheus operator runs: kubectl apply -f manifests/alerts.yaml",
        objects: alerts::objects(),
    }]
}

/// Every object of the installation, in an order that can be applied from top to bottom: namespaces, kinds, the rest.
///
/// # Errors
/// Serialization of a generated CRD failed; the message names it.
pub fn objects(choice: &Choice) -> Result<Vec<Value>, serde_json::Error> {
    let mut files = files(choice);
    let mut all = files.remove(0).objects;
    for crd in crate::api::crds() {
        all.push(serde_json::to_value(crd)?);
    }
    all.extend(files.into_iter().flat_map(|file| file.objects));
    all.extend(choice.member.as_ref().map(member));
    Ok(all)
}

fn member(member: &Member) -> Value {
    let mut spec = json!({});
    if let Some(version) = &member.version {
        spec["upgrade"] = json!({"version": version});
    }
    json!({"apiVersion": "applink.dev/v1alpha1", "kind": "MeshMember", "metadata": {"name": member.name}, "spec": spec})
}

/// `kustomization.yaml` of the base: the files above and the kinds, with one image to replace.
pub fn kustomization() -> Value {
    let (name, tag) = IMAGE.rsplit_once(':').unwrap_or((IMAGE, "latest"));
    let resources: Vec<&str> = std::iter::once("../crds")
        .chain(files(&Choice::default()).iter().map(|file| file.name))
        .collect();
    json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": resources,
        "images": [{"name": name, "newName": name, "newTag": tag}],
    })
}

/// The labels that every object of the installation carries.
fn labels() -> Value {
    json!({"app.kubernetes.io/name": "applink", "app.kubernetes.io/part-of": "applink", "app.kubernetes.io/component": "operator"})
}

/// Several objects as one YAML stream, each object a document.
///
/// # Errors
/// The text cannot be written; the message is the serializer's.
pub fn stream(objects: &[Value]) -> Result<String, String> {
    let mut text = String::new();
    for object in objects {
        if !text.is_empty() {
            text.push_str("---\n");
        }
        text.push_str(&serde_saphyr::to_string(object).map_err(|error| error.to_string())?);
    }
    Ok(text)
}
