//! `applink verify-node-clean`: is anything of istio-cni left in the folders of a node? Run by short-lived pods while a
//! member leaves its cluster; a person may run it on a node as well.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use super::{Failure, print};

/// What the agent calls its plugin, in configurations and as a program.
const PLUGIN: &str = "istio-cni";
/// The longest configuration that is read, in bytes; the kubelet reads smaller ones only.
const LONGEST: u64 = 1024 * 1024;

/// Flags of the command.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of CNI configurations
    #[arg(long, default_value = "/etc/cni/net.d", value_name = "FOLDER")]
    conf: PathBuf,
    /// Folder of CNI plugins
    #[arg(long, default_value = "/opt/cni/bin", value_name = "FOLDER")]
    bin: PathBuf,
    /// Print what is left whenever that changes, and never end
    #[arg(long)]
    hold: bool,
}

/// Runs the command.
///
/// # Errors
/// When a folder cannot be read.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let look = || {
        left(&args.conf, &args.bin).map_err(|error| {
            Failure::new(
                "cannot look at the node",
                error.to_string(),
                "run it as root, with the host's folders",
            )
        })
    };
    if !args.hold {
        let found = look()?;
        print(&text(&found))?;
        return Ok(if found.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        });
    }
    let mut told = None;
    loop {
        let found = look()?;
        if told.as_ref() != Some(&found) {
            print(&text(&found))?;
            told = Some(found);
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn text(found: &[PathBuf]) -> String {
    if found.is_empty() {
        return "clean: nothing of istio-cni is left\n".to_owned();
    }
    found.iter().fold(String::new(), |text, path| {
        text + "left: " + &path.display().to_string() + "\n"
    })
}

/// Programs called like the plugin, and configurations that name it.
fn left(conf: &Path, bin: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in entries(bin)? {
        if entry.file_name().is_some_and(|name| name == PLUGIN) {
            found.push(entry);
        }
    }
    for entry in entries(conf)? {
        let name = entry
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let is_configuration = ["conf", "conflist", "json"]
            .iter()
            .any(|end| entry.extension().is_some_and(|extension| extension == *end));
        if name.contains(PLUGIN) || (is_configuration && names_plugin(&entry)) {
            found.push(entry);
        }
    }
    found.sort();
    Ok(found)
}

fn names_plugin(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() <= LONGEST)
        && fs::read(path).is_ok_and(|bytes| {
            bytes
                .windows(PLUGIN.len())
                .any(|window| window == PLUGIN.as_bytes())
        })
}

/// Paths in a folder; none when the folder is not there.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_its_own_file_and_a_chained_entry_are_found_and_nothing_else() {
        let folder = std::env::temp_dir().join(format!("applink-clean-{}", std::process::id()));
        let (conf, bin) = (folder.join("conf"), folder.join("bin"));
        assert!(left(&conf, &bin).unwrap().is_empty());
        for path in [&conf, &bin] {
            fs::create_dir_all(path).unwrap();
        }
        for (path, text) in [
            (
                conf.join("10-bridge.conflist"),
                r#"{"plugins": [{"type": "bridge"}]}"#,
            ),
            (conf.join("notes.txt"), "istio-cni was here"),
            (bin.join("bridge"), ""),
        ] {
            fs::write(path, text).unwrap();
        }
        assert!(left(&conf, &bin).unwrap().is_empty());
        let chained = conf.join("10-bridge.conflist");
        fs::write(&chained, r#"{"plugins": [{"type": "istio-cni"}]}"#).unwrap();
        let own = conf.join("02-istio-cni.conflist");
        fs::write(&own, "{}").unwrap();
        let program = bin.join("istio-cni");
        fs::write(&program, "").unwrap();
        assert_eq!(left(&conf, &bin).unwrap(), [program, own, chained]);
        fs::remove_dir_all(folder).unwrap();
    }
}
