//! Definitions as the image holds them: an index of all without their schemas, and a file for each as it is sent.
//!
//! Reading the published files takes a third of a second of processor time and many megabytes, at every start of the
//! operator and once more when they are applied (25 definitions, 2 MB of YAML); the index has a few kilobytes, and what is
//! sent is never parsed at all.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Bundled, Error, Family, folder, resource};
use crate::desired::Manifest;

/// Name of the index in the folder.
pub const INDEX: &str = "index.json";

/// One definition in the index.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    name: String,
    family: Family,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    versions: Vec<String>,
    body: Value,
}

/// Name of the file with a whole definition.
pub(super) fn file(name: &str) -> String {
    format!("{name}.json")
}

/// Writes the packed form of a folder of published definitions into another one, which is made when it is missing. Returns
/// how many there are.
///
/// # Errors
/// Those of reading the folder, and [`Error::Write`].
pub fn pack(published: &Path, into: &Path) -> Result<usize, Error> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        |source| Error::Write { path, source }
    };
    let write = |name: &str, text: String| {
        let path = into.join(name);
        fs::write(&path, text).map_err(failed(&path))
    };
    fs::create_dir_all(into).map_err(failed(into))?;
    let mut index = Vec::new();
    for bundled in folder::bundled(published)? {
        let bundled = bundled?;
        let name = bundled.manifest.name.clone();
        write(&file(&name), bundled.manifest.body.to_string())?;
        let lean = bundled.lean();
        index.push(Line {
            name,
            family: lean.family,
            version: lean.version.map(|version| version.to_string()),
            versions: lean.versions,
            body: lean.manifest.body,
        });
    }
    // Last: a folder that was packed half has no index.
    let text = serde_json::to_string(&index).map_err(|error| broken(&into.join(INDEX), &error))?;
    write(INDEX, text)?;
    Ok(index.len())
}

/// The definitions of the index; `None` when the folder has none.
pub(super) fn index(packed: &Path) -> Result<Option<Vec<Bundled>>, Error> {
    let path = packed.join(INDEX);
    if !path.exists() {
        return Ok(None);
    }
    let text = folder::read(&path, &path.display().to_string())?;
    let lines: Vec<Line> = serde_json::from_str(&text).map_err(|error| broken(&path, &error))?;
    let bundled = |line: Line| Bundled {
        family: line.family,
        version: line.version.and_then(|version| version.parse().ok()),
        versions: line.versions,
        manifest: Manifest {
            resource: resource(),
            namespace: None,
            name: line.name,
            body: line.body,
            initial: None,
        },
    };
    Ok(Some(lines.into_iter().map(bundled).collect()))
}

fn broken(path: &Path, error: &serde_json::Error) -> Error {
    Error::Parse {
        path: path.display().to_string(),
        reason: error.to_string(),
    }
}
