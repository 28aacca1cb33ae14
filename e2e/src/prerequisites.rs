//! What the host must have: Debian packages, and Go.

use std::fmt::Write;
use std::path::Path;

use crate::command::{self, command};
use crate::files;
use crate::progress::Progress;

/// The oldest Go that builds the programs: the highest `go` line of the wrapper modules.
const GO: (u32, u32) = (1, 26);
/// The oldest Rust that builds this workspace.
const RUST: (u32, u32) = (1, 95);

/// A program or file that shows that a Debian package, or its like, is installed.
const NEEDED: [(&str, &str); 19] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
    ("iptables", "iptables"),
    ("ip6tables", "iptables"),
    ("ipset", "ipset"),
    ("conntrack", "conntrack"),
    ("ethtool", "ethtool"),
    ("socat", "socat"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("nsenter", "util-linux"),
    ("mount", "mount"),
    ("bash", "bash"),
    ("tar", "tar"),
    ("/usr/share/zoneinfo/Etc/UTC", "tzdata"),
    ("/etc/ssl/certs/ca-certificates.crt", "ca-certificates"),
    ("busybox", "busybox-static"),
];

/// The host lacks something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not root: namespaces, mounts and links need it.
    #[error("a cluster needs root; run the same command with sudo -E")]
    Root,
    /// Packages are missing and were not installed.
    #[error("this host lacks {missing}; {remedy}")]
    Packages {
        /// Programs and files.
        missing: String,
        /// The command that installs them.
        remedy: String,
    },
    /// The package client failed.
    #[error("cannot install {packages}; run: apt-get update && apt-get install -y {packages}")]
    Install {
        /// The packages.
        packages: String,
        /// What ran.
        source: command::Error,
    },
    /// A toolchain is missing or too old.
    #[error("{name} {}.{} or newer is needed, {found}; {remedy}", wanted.0, wanted.1)]
    Toolchain {
        /// Go or Rust.
        name: &'static str,
        /// The oldest that will do.
        wanted: (u32, u32),
        /// What there is.
        found: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A file could not be read.
    #[error(transparent)]
    Files(#[from] files::Error),
}

/// Checks everything; installs missing packages on Debian and its kin.
pub fn ensure(progress: Progress) -> Result<(), Error> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::Root);
    }
    toolchains()?;
    raise_inotify(progress);
    let missing = missing(is_there);
    if missing.is_empty() {
        return Ok(());
    }
    let packages = packages(&missing);
    if !is_debian() || !command::exists("apt-get") {
        return Err(unknown_system(&missing));
    }
    progress.say(format!("installing {packages}"));
    install(&packages).map_err(|source| Error::Install {
        packages: packages.clone(),
        source,
    })
}

/// How many inotify instances the host must allow. A kubelet, a containerd and a CNI agent want several each; at
/// Debian's 128 a third cluster's nodes never get Ready ("too many open files").
const INOTIFY_INSTANCES: u32 = 8192;

/// Raises the limit until the next boot, and says so: it is the host's, and stays raised after `down`.
fn raise_inotify(progress: Progress) {
    const LIMIT: &str = "/proc/sys/fs/inotify/max_user_instances";
    let have = std::fs::read_to_string(LIMIT).ok();
    let have = have.and_then(|text| text.trim().parse::<u32>().ok());
    if have.is_none_or(|have| have >= INOTIFY_INSTANCES) {
        return;
    }
    match std::fs::write(LIMIT, INOTIFY_INSTANCES.to_string()) {
        Ok(()) => progress.say(format!(
            "raised fs.inotify.max_user_instances to {INOTIFY_INSTANCES}"
        )),
        Err(error) => progress.say(format!(
            "cannot raise fs.inotify.max_user_instances ({error}); if nodes do not get Ready, run: sysctl fs.inotify.max_user_instances={INOTIFY_INSTANCES}"
        )),
    }
}

/// The Go and Rust toolchains are new enough.
pub fn toolchains() -> Result<(), Error> {
    toolchain(
        "Go",
        ("go", "version"),
        GO,
        "install it from https://go.dev/dl and put its bin folder on the PATH",
    )?;
    toolchain(
        "Rust",
        ("cargo", "--version"),
        RUST,
        "run: curl --proto '=https' -sSf https://sh.rustup.rs | sh -s -- -y",
    )
}

fn toolchain(
    name: &'static str,
    ask: (&str, &str),
    wanted: (u32, u32),
    remedy: &'static str,
) -> Result<(), Error> {
    let said = command::output(&mut command(ask.0, [ask.1]));
    let found = said.as_deref().ok().and_then(version);
    if found.is_some_and(|found| found >= wanted) {
        return Ok(());
    }
    let found = match found {
        Some((major, minor)) => format!("this is {major}.{minor}"),
        None => "and it is not there".to_owned(),
    };
    Err(Error::Toolchain {
        name,
        wanted,
        found,
        remedy,
    })
}

/// The first `major.minor` in a text such as `go version go1.26.8 linux/amd64`.
fn version(text: &str) -> Option<(u32, u32)> {
    text.split_whitespace().find_map(|word| {
        let mut parts = word.trim_start_matches("go").split('.');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    })
}

fn is_there(sign: &str) -> bool {
    match sign {
        // Where plugins lie differs from one distribution to the next.
        "/usr/lib/cni/bridge" => crate::node::plugin("bridge").is_some(),
        path if path.starts_with('/') => Path::new(path).exists(),
        program => command::exists(program),
    }
}

fn missing(is_there: impl Fn(&str) -> bool) -> Vec<(&'static str, &'static str)> {
    NEEDED
        .into_iter()
        .filter(|(sign, _)| !is_there(sign))
        .collect()
}

fn packages(missing: &[(&str, &str)]) -> String {
    let mut names: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    names.dedup();
    names.join(" ")
}

fn is_debian() -> bool {
    files::read(Path::new("/etc/os-release")).is_ok_and(|text| {
        text.lines().any(|line| {
            (line.starts_with("ID=") || line.starts_with("ID_LIKE="))
                && (line.contains("debian") || line.contains("ubuntu"))
        })
    })
}

fn unknown_system(missing: &[(&str, &str)]) -> Error {
    let mut list = String::new();
    for (sign, package) in missing {
        // Writing to a String cannot fail.
        let _ = write!(
            list,
            "{}{sign} (Debian: {package})",
            if list.is_empty() { "" } else { ", " }
        );
    }
    Error::Packages {
        missing: list,
        remedy: "install them with this system's package client and run the same command again"
            .to_owned(),
    }
}

fn install(packages: &str) -> Result<(), command::Error> {
    let apt = |arguments: &[&str]| {
        command::output(command("apt-get", arguments).env("DEBIAN_FRONTEND", "noninteractive"))
            .map(drop)
    };
    apt(&["update", "-qq"])?;
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    arguments.extend(packages.split(' '));
    apt(&arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_toolchains_say() {
        assert_eq!(version("go version go1.26.8 linux/amd64"), Some((1, 26)));
        assert_eq!(
            version("cargo 1.95.0 (59807616e 2026-04-14)"),
            Some((1, 95))
        );
        assert_eq!(version("nothing"), None);
    }

    #[test]
    fn a_missing_program_names_its_package_once() {
        let missing = missing(|sign| !["containerd", "ctr", "socat"].contains(&sign));
        assert_eq!(packages(&missing), "containerd socat");
    }

    #[test]
    fn an_unknown_system_is_told_what_is_missing() {
        let error = unknown_system(&[("ctr", "containerd"), ("nft", "nftables")]);
        assert_eq!(
            error.to_string(),
            "this host lacks ctr (Debian: containerd), nft (Debian: nftables); \
             install them with this system's package client and run the same command again"
        );
    }

    /// What the script prints where there is no program at all, and whether it fails.
    fn script() -> (String, Option<i32>) {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut script = command("/bin/sh", ["scripts/prerequisites.sh"]);
        let output = (script.current_dir(repository).env_clear().env("PATH", ""))
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        (told, output.status.code())
    }

    #[test]
    fn a_host_without_anything_is_told_every_command_that_it_takes() {
        let (told, code) = script();
        assert_eq!(code, Some(1), "{told}");
        let mut lines = told.lines();
        let packages = "missing: programs of the Debian packages build-essential make git curl";
        assert!(lines.next().unwrap().starts_with(packages), "{told}");
        let machine = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let archive = format!("go{}.{}.0.linux-{machine}.tar.gz", GO.0, GO.1);
        let go = format!(
            "  run: curl -fsSL https://go.dev/dl/{archive} -o /tmp/{archive} && sudo rm -rf /usr/local/go && \
             sudo tar -C /usr/local -xzf /tmp/{archive} && export PATH=/usr/local/go/bin:$PATH"
        );
        let expected = [
            "  run: your system's package manager, for the same programs",
            "missing: rustup, which brings the pinned toolchain",
            "  run: curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y",
            &format!(
                "missing: Go {}.{}.0 or newer, for the programs of the local cluster",
                GO.0, GO.1
            ),
            &go,
        ];
        assert_eq!(lines.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_go_that_is_asked_for_is_the_newest_that_a_module_asks_for() {
        let newest = crate::programs::Module::ALL.iter().filter_map(|module| {
            let text = files::read(&module.source().join("go.mod")).unwrap();
            let line = text
                .lines()
                .find(|line| line.starts_with("go "))?
                .to_owned();
            version(&line)
        });
        assert_eq!(newest.max(), Some(GO));
    }
}
