//! The shell: watches, reads, applies, leads.

mod settings;

pub use settings::Settings;

/// Why the operator ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Logging could not be set up.
    #[error(transparent)]
    Log(#[from] crate::telemetry::Error),
}

/// Runs the operator until it is told to stop.
///
/// # Errors
/// [`Error`] says what could not be started, or that leadership was lost.
pub fn run(settings: &Settings) -> Result<(), Error> {
    crate::telemetry::start(settings.log_format, &settings.log)?;
    Ok(())
}
