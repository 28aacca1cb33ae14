//! Container images made without a container engine and without a registry.
//!
//! An image is a root file system in a folder ([`rootfs::Rootfs`]), packed as one layer
//! ([`archive::pack`]), and kept by content next to the programs. Programs and libraries come
//! from the Go builds and from the host's own packages.

use std::path::{Path, PathBuf};

use crate::programs::{self, Module};
use crate::progress::Progress;
use crate::{built, command, files};

pub mod archive;
pub mod broken;
pub mod definitions;
pub mod recipes;
pub mod rootfs;

/// An image could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program that it holds could not be built.
    #[error(transparent)]
    Programs(#[from] programs::Error),
    /// A program of the host failed.
    #[error(transparent)]
    Command(#[from] command::Error),
    /// A file could not be read or written.
    #[error(transparent)]
    Files(#[from] files::Error),
    /// The definitions of Istio's and the Gateway API's kinds could not be packed.
    #[error(transparent)]
    Definitions(#[from] applink::desired::crds::Error),
    /// A program of this workspace that it holds has not been built.
    #[error(transparent)]
    Built(#[from] built::Missing),
    /// The host lacks a file that the image needs.
    #[error("image {image} needs {what}, which this host lacks; {remedy}")]
    Missing {
        /// The image.
        image: &'static str,
        /// What is missing.
        what: String,
        /// What to do.
        remedy: &'static str,
    },
}

/// The images that a cluster can be given by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Image {
    /// Holds a pod's namespaces; every node has it.
    Pause,
    /// The cluster's DNS; every node has it.
    Coredns,
    /// istiod.
    Pilot,
    /// The Istio CNI agent with its plugin.
    InstallCni,
    /// Operator, node proxy and CLI.
    Applink,
    /// The node proxy of releases, where it is another build than the operator: from the binary at `$APPLINK_PROXY_BIN`.
    Proxy,
    /// The services of the demonstration.
    Shop,
    /// Of releases that are broken on purpose: what needs no program of theirs.
    Broken,
    /// The same with the node proxy.
    BrokenProxy,
    /// The same with istiod.
    BrokenPilot,
    /// Upstream's node proxy, from the binary at `$UPSTREAM_ZTUNNEL`.
    UpstreamZtunnel,
}

impl Image {
    /// The reference that pods use.
    pub fn reference(self) -> String {
        let istio = programs::ISTIO;
        match self {
            Self::Pause => crate::node::settings::PAUSE.to_owned(),
            Self::Coredns => "localhost/applink/coredns:dev".to_owned(),
            Self::Pilot => format!("localhost/applink/pilot:{istio}"),
            Self::InstallCni => format!("localhost/applink/install-cni:{istio}"),
            Self::Applink => "localhost/applink/applink:dev".to_owned(),
            Self::Proxy => "localhost/applink/proxy:dev".to_owned(),
            Self::Shop => "localhost/applink/shop:dev".to_owned(),
            Self::Broken => "localhost/applink/broken:crash".to_owned(),
            Self::BrokenProxy => "localhost/applink/broken-proxy:refuse".to_owned(),
            Self::BrokenPilot => "localhost/applink/broken-pilot:unsigned".to_owned(),
            Self::UpstreamZtunnel => format!("localhost/applink/upstream-ztunnel:{istio}"),
        }
    }

    /// The archive of the image, made when there is none with the same content.
    ///
    /// `binary` is the program of [`Image::Applink`], [`Image::Shop`] or [`Image::Broken`] (the shop's); without it, the one
    /// next to the running program is taken.
    pub fn build(self, binary: Option<&Path>, progress: Progress) -> Result<PathBuf, Error> {
        let cache = programs::cache()?.join("images");
        files::create_dir(&cache)?;
        let recipe = recipes::recipe(self, binary, progress)?;
        let target = cache.join(format!("{}-{}.tar", recipe.name, recipe.key()?));
        if target.is_file() {
            archive::touch(&target)?;
            return Ok(target);
        }
        let _alone = programs::lock(&cache.join(format!("{}.lock", recipe.name)))?;
        if !target.is_file() {
            let clock = Progress::new();
            archive::pack(&recipe, &self.reference(), &target)?;
            archive::prune(&cache, recipe.name)?;
            progress.say(format!(
                "packed {} in {:.1} s",
                self.reference(),
                clock.elapsed().as_secs_f64()
            ));
        }
        Ok(target)
    }

    /// Builds the programs of every image, the longest part of a first start.
    pub fn module(self) -> Option<Module> {
        match self {
            Self::Coredns => Some(Module::Coredns),
            Self::Pilot | Self::InstallCni | Self::BrokenPilot => Some(Module::Istio),
            _ => None,
        }
    }
}
