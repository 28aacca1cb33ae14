//! Files and folders, with errors that name the path.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A file operation failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct Error {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Names the path in an error of the standard library.
pub fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error {
        action,
        path,
        source,
    }
}

/// Makes a folder and those above it.
pub fn create_dir(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(at("create folder", path))
}

/// Writes a file whole; readers see the old or the new content.
pub fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<(), Error> {
    write_mode(path, content, 0o644)
}

/// As [`write`], readable by the owner only.
pub fn write_secret(path: &Path, content: impl AsRef<[u8]>) -> Result<(), Error> {
    write_mode(path, content, 0o600)
}

/// As [`write`], executable.
pub fn write_program(path: &Path, content: impl AsRef<[u8]>) -> Result<(), Error> {
    write_mode(path, content, 0o755)
}

fn write_mode(path: &Path, content: impl AsRef<[u8]>, mode: u32) -> Result<(), Error> {
    if let Some(parent) = path.parent() {
        create_dir(parent)?;
    }
    let draft = path.with_extension("draft");
    fs::write(&draft, content).map_err(at("write", &draft))?;
    fs::set_permissions(&draft, fs::Permissions::from_mode(mode)).map_err(at("protect", &draft))?;
    fs::rename(&draft, path).map_err(at("write", path))
}

/// The text of a file.
pub fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(at("read", path))
}

/// Removes a folder with all it holds; one that is not there is as good.
pub fn remove_dir(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Removes a file; one that is not there is as good.
pub fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Copies a file with its mode, following links, and makes the folders above the target.
pub fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    if let Some(parent) = to.parent() {
        create_dir(parent)?;
    }
    fs::copy(from, to).map(drop).map_err(at("copy", from))
}

/// Every regular file and every link below a folder, sorted, links not followed.
pub fn below(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(at("list", &folder))? {
            let entry = entry.map_err(at("list", &folder))?;
            let kind = entry.file_type().map_err(at("look at", &folder))?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() || kind.is_symlink() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Where a link points to; nothing for what is no link.
pub fn link(path: &Path) -> Result<Option<PathBuf>, Error> {
    let kind = fs::symlink_metadata(path).map_err(at("look at", path))?;
    if kind.is_symlink() {
        fs::read_link(path).map(Some).map_err(at("read", path))
    } else {
        Ok(None)
    }
}
