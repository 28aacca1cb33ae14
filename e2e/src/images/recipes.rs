//! What goes into each image.

use std::path::{Path, PathBuf};

use aws_lc_rs::digest;

use super::definitions::Published;
use super::rootfs::{Entry, Rootfs};
use super::{Error, Image, broken};
use crate::built;
use crate::files;
use crate::programs::{self, Module, hex};
use crate::progress::Progress;

/// An image before it is packed.
#[derive(Debug)]
pub struct Recipe {
    /// Names the archive.
    pub name: &'static str,
    /// What it holds.
    pub rootfs: Rootfs,
    /// The program it starts.
    pub entrypoint: Vec<String>,
    /// The user it starts as; numeric, so that `runAsNonRoot` can be checked.
    pub user: &'static str,
    /// `KEY=value` for what the pod's template leaves open.
    pub environment: Vec<String>,
    /// Further images with the same files that start otherwise.
    pub variants: Vec<Variant>,
}

/// An image with the files of another one.
#[derive(Debug)]
pub struct Variant {
    /// The reference that pods use.
    pub reference: String,
    /// The program it starts.
    pub entrypoint: Vec<String>,
    /// `KEY=value` for what the pod's template leaves open.
    pub environment: Vec<String>,
}

/// The user of istiod and of upstream's proxy in upstream's images.
const ISTIO_PROXY: &str = "1337";

impl Recipe {
    pub(super) fn new(name: &'static str, entrypoint: &[&str]) -> Self {
        Self {
            name,
            rootfs: Rootfs::default(),
            entrypoint: entrypoint.iter().map(|&word| word.to_owned()).collect(),
            user: "0",
            environment: Vec::new(),
            variants: Vec::new(),
        }
    }

    /// Changes with anything that the archive would hold. A large file of the host is told by
    /// size and time of change: reading all of them would take longer than the packing saves.
    pub fn key(&self) -> Result<String, files::Error> {
        use std::os::unix::fs::MetadataExt;
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(format!("{:?} {}", self.entrypoint, self.user).as_bytes());
        hash.update(format!("{:?} {:?}", self.environment, self.variants).as_bytes());
        for (path, entry) in self.rootfs.entries() {
            hash.update(format!("{} {entry:?}", path.display()).as_bytes());
            if let Entry::Copy(from) = entry {
                let state = std::fs::metadata(from).map_err(files::at("look at", from))?;
                let stamp = (
                    state.size(),
                    state.mtime(),
                    state.mtime_nsec(),
                    state.mode(),
                );
                hash.update(format!("{stamp:?}").as_bytes());
            }
        }
        Ok(hex(&hash.finish().as_ref()[..8]))
    }
}

/// The recipe of an image; builds the programs that it holds.
pub fn recipe(image: Image, binary: Option<&Path>, progress: Progress) -> Result<Recipe, Error> {
    match image {
        Image::Pause => pause(),
        Image::Coredns => coredns(progress),
        Image::Pilot => pilot(progress),
        Image::InstallCni => install_cni(progress),
        Image::Applink => applink("applink", &given(binary, built::applink)?),
        Image::Proxy => applink("proxy", &given(binary, built::applink)?),
        Image::Shop => shop(&given(binary, built::shop)?),
        Image::UpstreamZtunnel => upstream_ztunnel(binary),
        Image::Broken => broken::anything(&given(binary, built::shop)?),
        Image::BrokenProxy => broken::proxy(&given(binary, built::applink)?),
        Image::BrokenPilot => broken::pilot(progress),
    }
}

fn pause() -> Result<Recipe, Error> {
    // It only has to stay; the runtime kills it when the pod ends. Its other applets serve tests.
    let mut recipe = Recipe::new("pause", &["/bin/busybox", "sleep", "2147483647"]);
    let busybox = host_file(
        "pause",
        &["/bin/busybox", "/usr/bin/busybox"],
        "install the package busybox-static",
    )?;
    recipe.rootfs.copy(&busybox, "/bin/busybox");
    recipe.user = "65535";
    Ok(recipe)
}

fn coredns(progress: Progress) -> Result<Recipe, Error> {
    let program = programs::build(Module::Coredns, progress)?.join("coredns");
    let mut recipe = Recipe::new("coredns", &["/coredns"]);
    recipe.rootfs.basics().copy(&program, "/coredns");
    Ok(recipe)
}

pub(super) fn pilot(progress: Progress) -> Result<Recipe, Error> {
    let program = programs::build(Module::Istio, progress)?.join("istio");
    let mut recipe = Recipe::new("pilot", &["/usr/local/bin/pilot-discovery"]);
    recipe
        .rootfs
        .basics()
        .copy(&program, "/usr/local/bin/pilot-discovery");
    certificates(&mut recipe.rootfs, "pilot")?;
    recipe.user = ISTIO_PROXY;
    Ok(recipe)
}

/// The agent copies the plugin from `/opt/cni/bin` of its image to the node.
fn install_cni(progress: Progress) -> Result<Recipe, Error> {
    const NAME: &str = "install-cni";
    let programs = programs::build(Module::Istio, progress)?;
    let mut recipe = Recipe::new(NAME, &["/usr/local/bin/install-cni"]);
    let rootfs = &mut recipe.rootfs;
    rootfs
        .basics()
        .copy(&programs.join("istio"), "/usr/local/bin/install-cni")
        .copy(&programs.join("istio-cni"), "/opt/cni/bin/istio-cni");
    for (flavour, program) in [
        ("nft", "xtables-nft-multi"),
        ("legacy", "xtables-legacy-multi"),
    ] {
        let found = host_file(
            NAME,
            &[&format!("/usr/sbin/{program}"), &format!("/sbin/{program}")],
            "install the package iptables",
        )?;
        rootfs.program(&found, format!("/usr/sbin/{program}"))?;
        for family in ["iptables", "ip6tables"] {
            for verb in ["", "-save", "-restore"] {
                rootfs.add(
                    format!("/usr/sbin/{family}-{flavour}{verb}"),
                    Entry::Link(program.to_owned()),
                );
                if flavour == "nft" {
                    rootfs.add(
                        format!("/usr/sbin/{family}{verb}"),
                        Entry::Link(program.to_owned()),
                    );
                }
            }
        }
    }
    let nft = host_file(
        NAME,
        &["/usr/sbin/nft", "/sbin/nft"],
        "install the package nftables",
    )?;
    rootfs.program(&nft, "/usr/sbin/nft")?;
    // Where the loader of extensions looks is compiled in, so they stay where the host has them.
    let modules = host_file(
        NAME,
        &[
            "/usr/lib/x86_64-linux-gnu/xtables",
            "/usr/lib/aarch64-linux-gnu/xtables",
            "/usr/lib/xtables",
            "/usr/lib64/xtables",
        ],
        "install the package iptables",
    )?;
    rootfs.tree(&modules, &modules, &[])?;
    rootfs.libraries_of(&files::below(&modules)?)?;
    Ok(recipe)
}

/// The operator, the node proxy and the CLI, with time zones for maintenance windows and the
/// definitions that the operator applies.
pub(super) fn applink(name: &'static str, program: &Path) -> Result<Recipe, Error> {
    let mut recipe = Recipe::new(name, &["/usr/local/bin/applink"]);
    let rootfs = &mut recipe.rootfs;
    rootfs.basics().program(program, "/usr/local/bin/applink")?;
    certificates(rootfs, name)?;
    let zones = host_file(name, &["/usr/share/zoneinfo"], "install the package tzdata")?;
    // Those two hold every zone once more, with other leap seconds.
    rootfs.tree(&zones, &zones, &["posix", "right"])?;
    let definitions = Entry::Definitions(Published::find()?);
    rootfs.add("/usr/share/applink/crds", definitions);
    recipe.user = "65532";
    Ok(recipe)
}

fn shop(program: &Path) -> Result<Recipe, Error> {
    let mut recipe = Recipe::new("shop", &["/usr/local/bin/shop"]);
    recipe
        .rootfs
        .basics()
        .program(program, "/usr/local/bin/shop")?;
    recipe.user = "65532";
    Ok(recipe)
}

fn upstream_ztunnel(binary: Option<&Path>) -> Result<Recipe, Error> {
    const NAME: &str = "upstream-ztunnel";
    let program = binary
        .map(Path::to_owned)
        .or_else(|| std::env::var_os("UPSTREAM_ZTUNNEL").map(PathBuf::from))
        .ok_or_else(|| Error::Missing {
            image: NAME,
            what: "upstream's ztunnel".to_owned(),
            remedy: "set UPSTREAM_ZTUNNEL to the path of the binary",
        })?;
    let mut recipe = Recipe::new(NAME, &["/usr/local/bin/ztunnel"]);
    recipe
        .rootfs
        .basics()
        .program(&program, "/usr/local/bin/ztunnel")?;
    certificates(&mut recipe.rootfs, NAME)?;
    recipe.user = ISTIO_PROXY;
    Ok(recipe)
}

fn certificates(rootfs: &mut Rootfs, image: &'static str) -> Result<(), Error> {
    let bundle = host_file(
        image,
        &[
            "/etc/ssl/certs/ca-certificates.crt",
            "/etc/pki/tls/certs/ca-bundle.crt",
        ],
        "install the package ca-certificates",
    )?;
    rootfs.copy(&bundle, "/etc/ssl/certs/ca-certificates.crt");
    Ok(())
}

/// The first path that exists on the host.
fn host_file(image: &'static str, places: &[&str], remedy: &'static str) -> Result<PathBuf, Error> {
    places
        .iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
        .ok_or_else(|| Error::Missing {
            image,
            what: places.join(" or "),
            remedy,
        })
}

/// The program named, else what the workspace has built.
fn given(
    binary: Option<&Path>,
    built: fn() -> Result<PathBuf, built::Missing>,
) -> Result<PathBuf, Error> {
    binary.map_or_else(|| Ok(built()?), |binary| Ok(binary.to_owned()))
}
