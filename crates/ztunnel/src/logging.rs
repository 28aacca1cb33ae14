//! Log lines: format, level, and the thread that writes them.
//!
//! Layer 8. Traffic never waits for the log: lines go through a bounded queue to one thread, and what does not fit is
//! counted and said.

pub mod format;
pub mod level;
pub mod writer;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

pub use level::Levels;
pub use writer::Flush;

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter cannot be read.
    #[error("the log filter {filter:?} cannot be read; use a form like info or info,proxy=debug")]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Logging was already set up in this process.
    #[error("logging is already set up in this process")]
    Twice,
    /// The writing thread could not be started.
    #[error("the log's thread cannot be started")]
    Thread(#[source] std::io::Error),
}

/// Sends all of this process's log lines to standard output.
///
/// # Errors
/// [`Error`] says what could not be set up.
pub fn start(filter: &str, json: bool) -> Result<(Levels, Flush), Error> {
    let (lines, flush) = writer::start(std::io::stdout()).map_err(Error::Thread)?;
    let directives = level::directives(filter);
    let parsed = EnvFilter::try_new(&directives).map_err(|source| Error::Filter {
        filter: filter.to_owned(),
        source,
    })?;
    let (layer, handle) = tracing_subscriber::reload::Layer::new(parsed);
    let form = if json {
        format::Form::Json
    } else {
        format::Form::Plain
    };
    tracing_subscriber::registry()
        .with(layer)
        .with(format::Lines::new(form, lines))
        .try_init()
        .map_err(|_| Error::Twice)?;
    Ok((Levels::new(handle, directives), flush))
}
