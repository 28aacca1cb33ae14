//! The shell: watches, reads, applies, leads.

mod admin;
mod apply;
mod backoff;
mod definition;
mod error;
mod leader;
mod mirror;
mod project;
mod settings;
mod signals;
mod world;

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

/// An error with its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
