//! Packs a root file system as an image archive with one layer, as `ctr images import` reads it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use serde_json::json;

use super::Error;
use super::recipes::Recipe;
use super::rootfs::Entry;
use crate::command::{self, command};
use crate::programs::hex;
use crate::{files, process};

/// How many archives of one image are kept.
const KEPT: usize = 3;

/// Writes the archive to `target`, whole or not at all.
pub fn pack(recipe: &Recipe, reference: &str, target: &Path) -> Result<(), Error> {
    let work = process::temporary_folder("image").map_err(|error| match error {
        process::Error::Files(error) => Error::Files(error),
        other => Error::Missing {
            image: recipe.name,
            what: other.to_string(),
            remedy: "check the temporary folder",
        },
    })?;
    let packed = assemble(recipe, reference, &work, target);
    files::remove_dir(&work)?;
    packed
}

fn assemble(recipe: &Recipe, reference: &str, work: &Path, target: &Path) -> Result<(), Error> {
    let root = work.join("root");
    files::create_dir(&root)?;
    // One file under two paths becomes a hard link, which tar keeps.
    let mut copied: BTreeMap<&Path, PathBuf> = BTreeMap::new();
    for (path, entry) in recipe.rootfs.entries() {
        let path = root.join(path.strip_prefix("/").unwrap_or(path));
        match entry {
            Entry::Copy(from) => {
                if let Some(first) = copied.get(from.as_path()) {
                    link(first, &path)?;
                } else {
                    files::copy(from, &path)?;
                    copied.insert(from, path);
                }
            }
            Entry::Text(text) => files::write(&path, text)?,
            Entry::Link(to) => {
                make_parent(&path)?;
                symlink(to, &path).map_err(files::at("link", &path))?;
            }
            Entry::Folder => files::create_dir(&path)?,
            Entry::Definitions(published) => {
                let folder = work.join("published");
                published.write(&folder)?;
                applink::desired::crds::packed::pack(&folder, &path)?;
            }
        }
    }
    let shared = root.join("tmp");
    if shared.is_dir() {
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777))
            .map_err(files::at("protect", &shared))?;
    }
    // The same content makes the same layer, so a second import is quick.
    let layer = work.join("layer.tar");
    tar(&root, &layer, &["."])?;
    let diff = format!("sha256:{}", sha256(&layer)?);
    let own = (reference, &recipe.entrypoint, &recipe.environment);
    let others = (recipe.variants.iter())
        .map(|one| (one.reference.as_str(), &one.entrypoint, &one.environment));
    let mut manifest = Vec::new();
    let mut names = vec!["manifest.json".to_owned(), "layer.tar".to_owned()];
    for (number, (reference, entrypoint, environment)) in
        std::iter::once(own).chain(others).enumerate()
    {
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/cni/bin";
        let environment: Vec<&str> = std::iter::once(path)
            .chain(environment.iter().map(String::as_str))
            .collect();
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {
                "Entrypoint": entrypoint,
                "User": recipe.user,
                "WorkingDir": "/",
                "Env": environment,
            },
            "rootfs": {"type": "layers", "diff_ids": [diff]},
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "e2e"}],
        });
        let name = format!("config-{number}.json");
        files::write(&work.join(&name), config.to_string())?;
        manifest.push(json!({
            "Config": name, "RepoTags": [reference], "Layers": ["layer.tar"],
        }));
        names.push(name);
    }
    files::write(&work.join("manifest.json"), json!(manifest).to_string())?;
    let draft = target.with_extension("draft");
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    tar(work, &draft, &names)?;
    fs::rename(&draft, target).map_err(files::at("write", target))?;
    Ok(())
}

/// Makes an archive that is used again the newest, so that it is not pruned.
pub fn touch(archive: &Path) -> Result<(), files::Error> {
    fs::File::options()
        .write(true)
        .open(archive)
        .and_then(|file| file.set_modified(std::time::SystemTime::now()))
        .map_err(files::at("touch", archive))
}

/// Removes all but the newest archives of an image; clusters hold copies of those they use.
pub fn prune(cache: &Path, name: &str) -> Result<(), files::Error> {
    let belongs = |path: &Path| {
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        path.extension().is_some_and(|extension| extension == "tar")
            && stem
                .and_then(|stem| stem.rsplit_once('-'))
                .is_some_and(|(own, _)| own == name)
    };
    let mut archives: Vec<_> = (files::below(cache)?.into_iter())
        .filter(|path| belongs(path))
        .filter_map(|path| Some((fs::metadata(&path).ok()?.modified().ok()?, path)))
        .collect();
    archives.sort();
    let old = archives.len().saturating_sub(KEPT);
    archives[..old]
        .iter()
        .try_for_each(|(_, path)| files::remove(path))
}

fn link(to: &Path, path: &Path) -> Result<(), files::Error> {
    make_parent(path)?;
    fs::hard_link(to, path).map_err(files::at("link", path))
}

fn make_parent(path: &Path) -> Result<(), files::Error> {
    path.parent().map_or(Ok(()), files::create_dir)
}

fn tar(folder: &Path, target: &Path, names: &[&str]) -> Result<(), command::Error> {
    let mut tar = command(
        "tar",
        ["--sort=name", "--mtime=@0", "--owner=0", "--group=0"],
    );
    tar.args(["--numeric-owner", "--format=gnu", "-cf"])
        .arg(target)
        .arg("-C")
        .arg(folder)
        .args(names);
    command::output(&mut tar).map(drop)
}

/// The SHA-256 of a file in hex, read in pieces.
pub fn sha256(path: &Path) -> Result<String, files::Error> {
    let mut file = fs::File::open(path).map_err(files::at("open", path))?;
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut piece = vec![0; 1 << 20];
    loop {
        let read = std::io::Read::read(&mut file, &mut piece).map_err(files::at("read", path))?;
        if read == 0 {
            return Ok(hex(hash.finish().as_ref()));
        }
        hash.update(&piece[..read]);
    }
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_archives_of_an_image_are_kept() {
        let cache = process::temporary_folder("prune").unwrap();
        let moment = |seconds| std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        for (seconds, name) in [
            (5, "a-1.tar"),
            (1, "a-2.tar"),
            (3, "a-3.tar"),
            (4, "a-4.tar"),
            (0, "a-b-1.tar"),
            (0, "a.lock"),
        ] {
            let file = fs::File::create(cache.join(name)).unwrap();
            file.set_modified(moment(seconds)).unwrap();
        }
        prune(&cache, "a").unwrap();
        let left = files::below(&cache).unwrap();
        let left: Vec<_> = left
            .iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap())
            .collect();
        assert_eq!(
            left,
            ["a-1.tar", "a-3.tar", "a-4.tar", "a-b-1.tar", "a.lock"]
        );
        files::remove_dir(&cache).unwrap();
    }
}
