//! The long-lived commands: the operator and the node proxy. They only hand over; everything else is theirs.

use std::process::ExitCode;

use super::Failure;
use crate::operator::{self, Settings};

/// Arguments of `ztunnel`.
#[derive(Debug, clap::Args)]
pub struct ZtunnelArgs {
    /// The proxy's own command [default: proxy]; everything else is set by environment variables, by upstream's names
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    arguments: Vec<String>,
}

/// Runs the operator until it is told to stop.
///
/// # Errors
/// What could not be started, with its causes.
pub fn operator(settings: &Settings) -> Result<ExitCode, Failure> {
    operator::run(settings).map_err(|error| {
        Failure::new(
            "the operator ended",
            causes(&error),
            "it is started again by Kubernetes; if it keeps ending, read its log from the start",
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Runs the node proxy until it is told to stop.
pub fn ztunnel(args: &ZtunnelArgs) -> ExitCode {
    applink_ztunnel::app::run(&args.arguments)
}

/// Runs a pod of the operator's own probe until it is told to stop.
///
/// # Errors
/// What could not be started.
pub fn probe() -> Result<ExitCode, Failure> {
    crate::probe::run().map_err(|error| {
        Failure::new(
            "the probe ended",
            error.to_string(),
            "it is run by the operator, in pods of its own",
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
