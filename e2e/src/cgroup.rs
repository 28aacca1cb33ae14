//! The control groups of nodes, in hierarchies of version 1 or in the unified one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::files::{self, Error};
use crate::process;

const ROOT: &str = "/sys/fs/cgroup";
/// Controllers that a kubelet wants in a unified hierarchy.
const CONTROLLERS: [&str; 5] = ["cpuset", "cpu", "io", "memory", "pids"];

/// Makes `parent/node` in every hierarchy.
pub fn create(parent: &str, node: &str) -> Result<(), Error> {
    for hierarchy in hierarchies()? {
        let mut above = hierarchy.clone();
        for name in [parent, node] {
            delegate(&above);
            let group = above.join(name);
            files::create_dir(&group)?;
            // A cpuset of version 1 starts empty, and an empty one takes no process.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let target = group.join(file);
                if target.exists() && hierarchy != Path::new(ROOT) {
                    let value = files::read(&above.join(file))?;
                    fs::write(&target, value).map_err(files::at("write", &target))?;
                }
            }
            above = group;
        }
        delegate(&above);
    }
    Ok(())
}

/// Removes a group with those below it, in every hierarchy. The processes in them are gone or
/// going: the kernel keeps a group busy for a moment after.
pub fn remove(group: &str) -> Result<(), process::Error> {
    for hierarchy in hierarchies()? {
        let top = hierarchy.join(group);
        process::eventually(
            &format!("the removal of {}", top.display()),
            Duration::from_secs(10),
            None,
            || remove_below(&top),
        )?;
    }
    Ok(())
}

fn remove_below(group: &Path) -> bool {
    if let Ok(entries) = fs::read_dir(group) {
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove_below(&entry.path());
            }
        }
    }
    let _ = fs::remove_dir(group);
    !group.exists()
}

/// Lets groups below this one use the controllers; only the unified hierarchy asks for it.
fn delegate(group: &Path) {
    let control = group.join("cgroup.subtree_control");
    for controller in CONTROLLERS {
        // One that the kernel lacks is one that the kubelet does without.
        let _ = fs::write(&control, format!("+{controller}"));
    }
}

fn hierarchies() -> Result<Vec<PathBuf>, Error> {
    let root = Path::new(ROOT);
    if root.join("cgroup.controllers").exists() {
        return Ok(vec![root.to_owned()]);
    }
    let entries = fs::read_dir(root).map_err(files::at("list", root))?;
    Ok(entries
        .flatten()
        // Links such as `cpu` to `cpu,cpuacct` name a hierarchy a second time.
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .filter(|path| path.join("cgroup.procs").exists())
        .collect())
}
