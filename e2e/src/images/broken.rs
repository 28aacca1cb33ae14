//! What goes into the images of releases that are broken on purpose. The programs are those of good releases; what starts
//! them, or what they find in their environment, is not.

use std::path::Path;

use super::recipes::{self, Recipe, Variant};
use super::{Error, Image};
use crate::built;
use crate::progress::Progress;

/// Where the shop's program is in these images: it is what breaks them.
const SHOP: &str = "/usr/local/bin/shop";
const APPLINK: &str = "/usr/local/bin/applink";
/// Where that program looks for what it has the node proxy load.
const FLAKY: &str = "/usr/local/lib/libshop_flaky.so";

/// Ways in which a release can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Broken {
    /// Its proxy never gets ready.
    MuteProxy,
    /// Its proxy gets ready, and then refuses connections: it never has a certificate.
    RefusingProxy,
    /// Its proxy gets ready, and fails one in ten connections; those of the operator's own probe go through.
    FlakyProxy,
    /// Its proxy gets ready, and then grows until it is killed.
    GrowingProxy,
    /// Its istiod crashes at start.
    CrashingPilot,
    /// Its istiod serves, but cannot sign.
    UnsigningPilot,
    /// Its network agent crashes.
    CrashingAgent,
    /// An image of it does not exist.
    MissingImage,
}

impl Broken {
    /// Those that are caught where nobody uses the mesh, those that touch no node first.
    pub const WITHOUT_USERS: [Self; 7] = [
        Self::MissingImage,
        Self::CrashingPilot,
        Self::UnsigningPilot,
        Self::CrashingAgent,
        Self::MuteProxy,
        Self::RefusingProxy,
        Self::GrowingProxy,
    ];

    /// Which of a release's images it is, and the reference of the broken one.
    pub fn image(self) -> (&'static str, String) {
        let tagged = |image: Image, tag: &str| {
            let reference = image.reference();
            let repository = reference
                .rsplit_once(':')
                .map_or(&*reference, |(name, _)| name);
            format!("{repository}:{tag}")
        };
        match self {
            Self::MuteProxy => ("applink", tagged(Image::Broken, "mute")),
            Self::RefusingProxy => ("applink", tagged(Image::BrokenProxy, "refuse")),
            Self::FlakyProxy => ("applink", tagged(Image::BrokenProxy, "flake")),
            Self::GrowingProxy => ("applink", tagged(Image::BrokenProxy, "grow")),
            Self::CrashingPilot => ("pilot", tagged(Image::Broken, "crash")),
            Self::UnsigningPilot => ("pilot", Image::BrokenPilot.reference()),
            Self::CrashingAgent => ("install-cni", tagged(Image::Broken, "crash")),
            Self::MissingImage => ("applink", tagged(Image::Applink, "missing")),
        }
    }

    /// What the nodes have to be given for it.
    pub fn source(self) -> Option<Image> {
        match self {
            Self::MuteProxy | Self::CrashingPilot | Self::CrashingAgent => Some(Image::Broken),
            Self::RefusingProxy | Self::FlakyProxy | Self::GrowingProxy => Some(Image::BrokenProxy),
            Self::UnsigningPilot => Some(Image::BrokenPilot),
            Self::MissingImage => None,
        }
    }
}

fn words(entrypoint: &[&str]) -> Vec<String> {
    entrypoint.iter().map(|&word| word.to_owned()).collect()
}

/// What needs no program of a release.
pub(super) fn anything(shop: &Path) -> Result<Recipe, Error> {
    let mut recipe = Recipe::new("broken", &[SHOP, "broken", "crash"]);
    recipe.rootfs.basics().program(shop, SHOP)?;
    recipe.user = "1337";
    recipe.variants.push(Variant {
        reference: Broken::MuteProxy.image().1,
        entrypoint: words(&[SHOP, "broken", "mute"]),
        environment: Vec::new(),
    });
    Ok(recipe)
}

/// The node proxy, started by what breaks it.
pub(super) fn proxy(applink: &Path) -> Result<Recipe, Error> {
    let mut recipe = recipes::applink("broken-proxy", applink)?;
    recipe.rootfs.program(&built::shop()?, SHOP)?;
    recipe.rootfs.program(&built::flaky()?, FLAKY)?;
    recipe.entrypoint = words(&[SHOP, "broken", "refuse", APPLINK]);
    for (broken, way) in [
        (Broken::FlakyProxy, "flake"),
        (Broken::GrowingProxy, "grow"),
    ] {
        recipe.variants.push(Variant {
            reference: broken.image().1,
            entrypoint: words(&[SHOP, "broken", way, APPLINK]),
            environment: Vec::new(),
        });
    }
    Ok(recipe)
}

/// istiod that signs for a second at most: whoever asks for a day, as every proxy does, is refused.
pub(super) fn pilot(progress: Progress) -> Result<Recipe, Error> {
    let mut recipe = recipes::pilot(progress)?;
    recipe.name = "broken-pilot";
    recipe.environment = words(&["MAX_WORKLOAD_CERT_TTL=1s"]);
    Ok(recipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_broken_image_is_of_the_archive_that_brings_it() {
        for broken in Broken::WITHOUT_USERS
            .into_iter()
            .chain([Broken::FlakyProxy])
        {
            let Some(source) = broken.source() else {
                assert_eq!(broken, Broken::MissingImage);
                continue;
            };
            let (_, reference) = broken.image();
            let source = source.reference();
            let repository = |reference: &str| reference.split(':').next().map(str::to_owned);
            assert_eq!(repository(&reference), repository(&source), "{broken:?}");
        }
    }
}
