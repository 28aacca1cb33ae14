//! Which cluster uses which address range: a registry that all clusters of the machine share.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::network::{Network, SLOTS};
use crate::{command, files};

/// Gone after a reboot, as are all clusters.
const REGISTRY: &str = "/run/applink-e2e/slots";

/// No slot could be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// All are in use.
    #[error(
        "all {SLOTS} address ranges for clusters are in use; take a cluster down (e2e list names them)"
    )]
    Full,
    /// The host's routes could not be read.
    #[error(transparent)]
    Command(#[from] command::Error),
    /// The registry could not be read or written.
    #[error(transparent)]
    Files(#[from] files::Error),
}

/// The slot of the cluster kept in `folder`, if it has one.
pub fn find(folder: &Path) -> Result<Option<u8>, Error> {
    Ok(all()?
        .into_iter()
        .find(|(_, owner)| owner == folder)
        .map(|(slot, _)| slot))
}

/// The slot of the cluster kept in `folder`: its own, else the first free one.
pub fn claim(folder: &Path) -> Result<u8, Error> {
    if let Some(slot) = find(folder)? {
        return Ok(slot);
    }
    files::create_dir(Path::new(REGISTRY))?;
    for slot in 0..SLOTS {
        let path = entry(slot);
        let mut file = match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(files::at("claim", &path)(error).into()),
        };
        if Network::new(slot).is_taken()? {
            files::remove(&path)?;
            continue;
        }
        file.write_all(folder.as_os_str().as_encoded_bytes())
            .map_err(files::at("write", &path))?;
        return Ok(slot);
    }
    Err(Error::Full)
}

/// Gives the slot of the cluster kept in `folder` back.
pub fn release(folder: &Path) -> Result<(), Error> {
    match find(folder)? {
        Some(slot) => Ok(files::remove(&entry(slot))?),
        None => Ok(()),
    }
}

/// Every slot in use, with the folder of its cluster.
pub fn all() -> Result<Vec<(u8, PathBuf)>, Error> {
    let mut found = Vec::new();
    for slot in 0..SLOTS {
        let path = entry(slot);
        match fs::read_to_string(&path) {
            Ok(folder) => found.push((slot, folder.into())),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(files::at("read", &path)(error).into()),
        }
    }
    Ok(found)
}

fn entry(slot: u8) -> PathBuf {
    Path::new(REGISTRY).join(slot.to_string())
}
