//! The definitions of Istio's and the Gateway API's kinds, from the Go modules that carry them.

use std::path::{Path, PathBuf};

use applink::desired::crds::folder::ISTIO_VERSION;

use super::Error;
use crate::command::{self, command};
use crate::files;
use crate::programs::Module;

/// Published definitions. The versions are those of the wrapper module's `go.mod`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Name in the folder, and file in the Go module cache.
    files: Vec<(String, PathBuf)>,
    /// Of Istio's definitions.
    istio: String,
}

/// A dependency of the Istio wrapper.
struct Dependency {
    folder: PathBuf,
    version: String,
}

impl Published {
    /// Finds them in the module cache; fetches the modules when need be.
    ///
    /// # Errors
    /// When a module cannot be fetched.
    pub fn find() -> Result<Self, Error> {
        let istio = module("istio.io/api")?;
        let file = (istio.folder).join("kubernetes/customresourcedefinitions.gen.yaml");
        let mut found = vec![("istio.yaml".to_owned(), file)];
        let gateway = (module("sigs.k8s.io/gateway-api")?.folder).join("config/crd/standard");
        for file in files::below(&gateway)? {
            if file
                .extension()
                .is_some_and(|extension| extension == "yaml")
                && let Some(name) = file.file_name().and_then(|name| name.to_str())
                && name != "kustomization.yaml"
            {
                found.push((format!("gateway-{name}"), file.clone()));
            }
        }
        Ok(Self {
            files: found,
            istio: istio.version,
        })
    }

    /// Writes them into a folder, as they were published.
    ///
    /// # Errors
    /// When a file cannot be copied.
    pub fn write(&self, folder: &Path) -> Result<(), files::Error> {
        for (name, from) in &self.files {
            files::copy(from, &folder.join(name))?;
        }
        files::write(&folder.join(ISTIO_VERSION), &self.istio)
    }
}

fn module(name: &str) -> Result<Dependency, Error> {
    let mut go = command("go", ["mod", "download", "-json", name]);
    let said = command::output(go.current_dir(Module::Istio.source()))?;
    let said: serde_json::Value = serde_json::from_str(&said).unwrap_or_default();
    let text = |field: &str| said[field].as_str().map(str::to_owned);
    match (text("Dir"), text("Version")) {
        (Some(folder), Some(version)) => Ok(Dependency {
            folder: folder.into(),
            version,
        }),
        _ => Err(Error::Missing {
            image: "applink",
            what: format!("the Go module {name}"),
            remedy: "check that the module proxy can be reached",
        }),
    }
}
