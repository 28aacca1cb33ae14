//! `applink pack-definitions`: what the image's build does with the definitions that the modules of Istio and of the Gateway
//! API carry.

use std::path::PathBuf;
use std::process::ExitCode;

use super::Failure;
use crate::desired::crds::packed::pack;

/// Flags of `applink pack-definitions`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Folder with the definitions as published
    #[arg(value_name = "FOLDER")]
    from: PathBuf,
    /// Folder to write them to
    #[arg(value_name = "INTO")]
    into: PathBuf,
}

/// Packs and says how many there are.
///
/// # Errors
/// With the file that cannot be read or written.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let count = pack(&args.from, &args.into).map_err(|error| {
        Failure::new(
            "cannot pack the definitions",
            crate::operator::chain(&error),
            "name the folder with the *.yaml files of the modules istio.io/api and sigs.k8s.io/gateway-api",
        )
    })?;
    super::print(&format!("{count} definitions in {}\n", args.into.display()))?;
    Ok(ExitCode::SUCCESS)
}
