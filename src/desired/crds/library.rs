//! The folder of definitions, packed or as published: what is in it, and what is sent.

use std::path::Path;

use super::{Bundled, Error, folder, packed};

/// A definition as it is sent.
#[derive(Debug)]
pub struct Document {
    /// Its name.
    pub name: String,
    /// The object: JSON that nobody has to read before the API server does.
    pub body: String,
}

/// Every definition of a folder, without its schemas.
///
/// # Errors
/// [`Error`] names the file that cannot be read.
pub fn entries(folder: &Path) -> Result<Vec<Bundled>, Error> {
    if let Some(index) = packed::index(folder)? {
        return Ok(index);
    }
    folder::bundled(folder)?
        .map(|bundled| bundled.map(Bundled::lean))
        .collect()
}

/// These definitions of a folder, one at a time.
///
/// # Errors
/// [`Error`] when the folder cannot be listed; a definition that cannot be read is an item of its own.
pub fn documents(
    folder: &Path,
    names: &[String],
) -> Result<Box<dyn Iterator<Item = Result<Document, Error>>>, Error> {
    if folder.join(packed::INDEX).exists() {
        let folder = folder.to_owned();
        let names = names.to_vec();
        return Ok(Box::new(
            names.into_iter().map(move |name| sent(&folder, name)),
        ));
    }
    let names = names.to_vec();
    let wanted = move |bundled: &Result<Bundled, Error>| {
        bundled
            .as_ref()
            .map_or(true, |bundled| names.contains(&bundled.manifest.name))
    };
    let document = |bundled: Result<Bundled, Error>| {
        let manifest = bundled?.manifest;
        Ok(Document {
            name: manifest.name,
            body: manifest.body.to_string(),
        })
    };
    Ok(Box::new(
        folder::bundled(folder)?.filter(wanted).map(document),
    ))
}

/// A packed definition.
fn sent(folder: &Path, name: String) -> Result<Document, Error> {
    let path = folder.join(packed::file(&name));
    let body = folder::read(&path, &path.display().to_string())?;
    Ok(Document { name, body })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use serde_json::Value;

    use super::*;

    const PUBLISHED: &str = "\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: sidecars.networking.istio.io, annotations: {gone: x}}
spec: {group: networking.istio.io, versions: [{name: v1, served: true, storage: true}]}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: gateways.gateway.networking.k8s.io
  annotations: {gateway.networking.k8s.io/bundle-version: v1.6.0}
spec: {group: gateway.networking.k8s.io, versions: [{name: v1}, {name: v1beta1}]}
";

    /// A folder of the test of this name with a published one and its packed form.
    fn folders(test: &str) -> (PathBuf, PathBuf) {
        let name = format!("applink-definitions-{test}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let (published, packed) = (folder.join("published"), folder.join("packed"));
        fs::create_dir_all(&published).unwrap();
        fs::write(published.join("all.yaml"), PUBLISHED).unwrap();
        fs::write(published.join(folder::ISTIO_VERSION), "v1.31.1\n").unwrap();
        assert_eq!(packed::pack(&published, &packed).unwrap(), 2);
        (published, packed)
    }

    fn sent_of(folder: &Path) -> Vec<(String, Value)> {
        let names: Vec<String> = (entries(folder).unwrap().into_iter())
            .map(|bundled| bundled.manifest.name)
            .collect();
        documents(folder, &names)
            .unwrap()
            .map(|document| {
                let document = document.unwrap();
                let body = serde_json::from_str(&document.body).unwrap();
                (document.name, body)
            })
            .collect()
    }

    #[test]
    fn packed_definitions_are_those_that_were_published() {
        let (published, packed) = folders("same");
        let index = entries(&packed).unwrap();
        assert_eq!(index, entries(&published).unwrap());
        assert!(index.iter().all(|one| one.manifest.body["spec"].is_null()));
        assert_eq!(sent_of(&packed), sent_of(&published));
        assert_eq!(
            sent_of(&packed)[1].1["spec"]["group"],
            "gateway.networking.k8s.io"
        );
    }

    #[test]
    fn only_what_is_wanted_is_sent() {
        let (published, packed) = folders("wanted");
        let wanted = ["sidecars.networking.istio.io".to_owned()];
        for folder in [published, packed] {
            let names: Vec<String> = documents(&folder, &wanted)
                .unwrap()
                .map(|document| document.unwrap().name)
                .collect();
            assert_eq!(names, wanted);
        }
    }

    #[test]
    fn a_packed_file_that_is_missing_and_a_damaged_index_are_named() {
        let (_, packed) = folders("damaged");
        let name = "sidecars.networking.istio.io".to_owned();
        let file = packed.join(packed::file(&name));
        let told = |names: &[String]| {
            let mut all = documents(&packed, names).unwrap();
            all.next().unwrap().unwrap_err().to_string()
        };
        fs::remove_file(&file).unwrap();
        assert!(told(&[name]).contains("sidecars.networking.istio.io.json"));
        fs::write(packed.join(packed::INDEX), "[{}]").unwrap();
        let error = entries(&packed).unwrap_err().to_string();
        assert!(error.contains("index.json"), "{error}");
    }
}
