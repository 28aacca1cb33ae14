//! The Go programs of the local cluster: built once, kept by content.
//!
//! Each module below `e2e/go` is one binary that chooses by the name it is called with. The
//! folder it is kept in is named by a hash of the module's files, the Go version and the flags,
//! so a change of any of them builds anew and everything else is reused.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use aws_lc_rs::digest;
use nix::fcntl::{Flock, FlockArg};

use crate::command::{self, command};
use crate::files;
use crate::progress::Progress;

/// The Kubernetes release that the cluster runs.
pub const KUBERNETES: &str = "1.34.4";
/// The Istio release that the images carry.
pub const ISTIO: &str = "1.31.0";

/// How often a long build says that it goes on.
const BEAT: Duration = Duration::from_secs(30);

/// A program set could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Go toolchain failed.
    #[error("cannot build the {module} programs")]
    Build {
        /// Folder below `e2e/go`.
        module: &'static str,
        /// What ran.
        source: command::Error,
    },
    /// The Go toolchain is missing.
    #[error("cannot ask go for its version; install Go from https://go.dev/dl")]
    Go(#[source] command::Error),
    /// No place to keep programs.
    #[error("cannot tell where to keep programs: set APPLINK_CACHE or HOME")]
    Cache,
    /// Another build holds the place and it cannot be waited for.
    #[error("cannot lock {}", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    Files(#[from] files::Error),
}

/// A Go module below `e2e/go`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Module {
    /// API server, controllers, scheduler, kubelet, kube-proxy and kubectl.
    Kubernetes,
    /// etcd.
    Etcd,
    /// `CoreDNS`.
    Coredns,
    /// `pilot-discovery`, `install-cni` and `istio-cni`.
    Istio,
    /// `kwok`, which plays the kubelets of simulated nodes.
    Kwok,
}

impl Module {
    /// All of them, the quickest to build first.
    pub const ALL: [Self; 5] = [
        Self::Etcd,
        Self::Coredns,
        Self::Kwok,
        Self::Istio,
        Self::Kubernetes,
    ];

    /// Folder below `e2e/go`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::Etcd => "etcd",
            Self::Coredns => "coredns",
            Self::Istio => "istio",
            Self::Kwok => "kwok",
        }
    }

    /// Names that the binary answers to.
    pub fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Kubernetes => &[
                "kube-apiserver",
                "kube-controller-manager",
                "kube-scheduler",
                "kube-proxy",
                "kubelet",
                "kubectl",
            ],
            Self::Etcd => &["etcd"],
            Self::Coredns => &["coredns"],
            Self::Istio => &["pilot-discovery", "install-cni"],
            Self::Kwok => &["kwok"],
        }
    }

    /// Packages of the module that become a binary of their own: folder, and name of the program.
    pub fn others(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Istio => &[("./plugin", "istio-cni")],
            Self::Kubernetes | Self::Etcd | Self::Coredns | Self::Kwok => &[],
        }
    }

    /// Version stamps, without which the programs call themselves v0.0.0.
    fn linker_flags(self) -> String {
        let stamps = match self {
            Self::Kubernetes => {
                let package = "k8s.io/component-base/version";
                let mut parts = KUBERNETES.split('.');
                let (major, minor) = (
                    parts.next().unwrap_or_default(),
                    parts.next().unwrap_or_default(),
                );
                format!(
                    " -X {package}.gitVersion=v{KUBERNETES} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
                )
            }
            Self::Istio => format!(
                " -X istio.io/istio/pkg/version.buildVersion={ISTIO} -X istio.io/istio/pkg/version.buildStatus=Clean"
            ),
            Self::Etcd | Self::Coredns | Self::Kwok => String::new(),
        };
        format!("-s -w{stamps}")
    }

    /// Where the wrapper module's sources are.
    pub fn source(self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("go")
            .join(self.name())
    }
}

/// The folder everything built is kept in: `$APPLINK_CACHE`, else `~/.cache/applink`.
pub fn cache() -> Result<PathBuf, Error> {
    if let Some(folder) = std::env::var_os("APPLINK_CACHE").filter(|value| !value.is_empty()) {
        return Ok(folder.into());
    }
    let home = std::env::var_os("HOME").ok_or(Error::Cache)?;
    Ok(Path::new(&home).join(".cache/applink"))
}

/// The folder that holds the module's programs under their names, built when it is not there.
///
/// # Errors
/// [`Error::Build`] with the command line and the end of what the compiler said.
pub fn build(module: Module, progress: Progress) -> Result<PathBuf, Error> {
    let go = command::output(&mut command("go", ["version"])).map_err(Error::Go)?;
    let place = cache()?
        .join("programs")
        .join(key(module, go.trim(), &module.source())?);
    if place.join("complete").is_file() {
        return Ok(place);
    }
    files::create_dir(&place)?;
    let _alone = lock(&place.join("lock"))?;
    if place.join("complete").is_file() {
        return Ok(place);
    }
    let clock = Progress::new();
    progress.say(format!(
        "building {} (once; minutes on a cold machine)",
        module.programs().join(", ")
    ));
    watched(module, progress, || compile(module, &place))?;
    progress.say(format!(
        "built {} in {:.1} s",
        module.name(),
        clock.elapsed().as_secs_f64()
    ));
    Ok(place)
}

/// Says every half minute that the work goes on.
fn watched<T>(module: Module, progress: Progress, work: impl FnOnce() -> T) -> T {
    let (done, wait) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while wait.recv_timeout(BEAT) == Err(mpsc::RecvTimeoutError::Timeout) {
                progress.say(format!("still building {}", module.name()));
            }
        });
        let result = work();
        drop(done);
        result
    })
}

/// How far the compiler's heap may grow before it is collected, in percent: a sixth less CPU than with Go's 100 for the
/// programs that are built here, at some hundred megabytes more.
const COMPILER_GOGC: &str = "300";

fn compile(module: Module, place: &Path) -> Result<(), Error> {
    let main = (".", module.name());
    for (package, name) in std::iter::once(&main).chain(module.others()) {
        let mut go = command("go", ["build", "-trimpath", "-buildvcs=false", "-ldflags"]);
        go.arg(module.linker_flags())
            .arg("-o")
            .arg(place.join(name))
            .arg(package)
            .current_dir(module.source())
            .env("CGO_ENABLED", "0");
        if std::env::var_os("GOGC").is_none() {
            go.env("GOGC", COMPILER_GOGC);
        }
        command::output(&mut go).map_err(|source| Error::Build {
            module: module.name(),
            source,
        })?;
    }
    for program in module.programs() {
        let link = place.join(program);
        if *program != module.name() {
            files::remove(&link)?;
            symlink(module.name(), &link).map_err(files::at("link", &link))?;
        }
    }
    Ok(files::write(&place.join("complete"), "")?)
}

/// The name of the folder a build is kept in: module name and 16 hex digits.
fn key(module: Module, go: &str, source: &Path) -> Result<String, Error> {
    let mut hash = digest::Context::new(&digest::SHA256);
    for part in [go, &module.linker_flags(), &module.programs().join(" ")] {
        hash.update(part.as_bytes());
        hash.update(&[0]);
    }
    for path in files::below(source)? {
        let name = path.strip_prefix(source).unwrap_or(&path);
        let content = fs::read(&path).map_err(files::at("read", &path))?;
        hash.update(name.as_os_str().as_encoded_bytes());
        hash.update(&content.len().to_be_bytes());
        hash.update(&content);
    }
    Ok(format!(
        "{}-{}",
        module.name(),
        hex(&hash.finish().as_ref()[..8])
    ))
}

/// Lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Waits until nobody else holds the file; released on drop, or when the process ends.
pub fn lock(path: &Path) -> Result<Flock<fs::File>, Error> {
    let failed = |source| Error::Lock {
        path: path.to_owned(),
        source,
    };
    let file = fs::File::create(path).map_err(failed)?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| failed(errno.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_is_named_by_everything_that_changes_it() {
        let source = Module::Etcd.source();
        let first = key(Module::Etcd, "go1.26", &source).unwrap();
        assert_eq!(first, key(Module::Etcd, "go1.26", &source).unwrap());
        assert_ne!(first, key(Module::Etcd, "go1.27", &source).unwrap());
        assert_ne!(
            first,
            key(Module::Etcd, "go1.26", &Module::Coredns.source()).unwrap()
        );
    }

    #[test]
    fn kubernetes_carries_its_version() {
        assert_eq!(
            Module::Kubernetes.linker_flags(),
            "-s -w -X k8s.io/component-base/version.gitVersion=v1.34.4 \
             -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=34"
        );
    }

    #[test]
    fn every_module_has_its_sources() {
        for module in Module::ALL {
            assert!(module.source().join("go.mod").is_file(), "{module:?}");
        }
    }
}
