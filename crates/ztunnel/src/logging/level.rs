//! The log filter, and changing it while running.

use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::{EnvFilter, Registry, reload};

use super::format::CRATE;

/// Longest filter accepted from outside.
const LONGEST: usize = 1024;

/// A change that was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The level is not one.
    #[error(
        "invalid level {0:?}; use a level (error, warn, info, debug, trace, off) or scope:level pairs"
    )]
    Level(String),
    /// The filter is gone: the process is ending.
    #[error("the log has ended")]
    Ended,
}

/// Reads and changes the filter. Cheap to clone.
#[derive(Clone)]
pub struct Levels {
    handle: reload::Handle<EnvFilter, Registry>,
    initial: Arc<str>,
    current: Arc<Mutex<String>>,
}

impl Levels {
    pub(super) fn new(handle: reload::Handle<EnvFilter, Registry>, directives: String) -> Self {
        Self {
            handle,
            initial: directives.as_str().into(),
            current: Arc::new(Mutex::new(directives)),
        }
    }

    /// The filter now.
    #[must_use]
    pub fn current(&self) -> String {
        self.current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Adds a level (`debug`) or pairs (`access:debug,proxy:trace`) to the filter; later ones win.
    ///
    /// # Errors
    /// [`Error::Level`] when the text is neither.
    pub fn add(&self, text: &str) -> Result<(), Error> {
        let refused = || Error::Level(text.chars().take(80).collect());
        let known =
            |level: &str| matches!(level, "error" | "warn" | "info" | "debug" | "trace" | "off");
        let mut parts = Vec::new();
        for part in text.split(',') {
            let lower = part.trim().to_ascii_lowercase();
            match lower.rsplit_once([':', '=']) {
                None if known(&lower) => parts.push(lower),
                Some((scope, level)) if known(level) && !scope.is_empty() => {
                    parts.push(format!("{}={level}", target(scope.trim_end_matches(':'))));
                }
                _ => return Err(refused()),
            }
        }
        let mut all = self.current();
        for part in &parts {
            all = merged(&all, part);
        }
        if all.len() > LONGEST {
            return Err(refused());
        }
        self.set(all)
    }

    /// Back to the filter of the start.
    ///
    /// # Errors
    /// [`Error::Ended`] when the process is ending.
    pub fn reset(&self) -> Result<(), Error> {
        self.set(self.initial.to_string())
    }

    fn set(&self, directives: String) -> Result<(), Error> {
        let filter =
            EnvFilter::try_new(&directives).map_err(|_| Error::Level(directives.clone()))?;
        self.handle.reload(filter).map_err(|_| Error::Ended)?;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = directives;
        Ok(())
    }
}

/// The filter with one directive replaced or added.
fn merged(all: &str, part: &str) -> String {
    let scope = |directive: &str| directive.split_once('=').map(|(scope, _)| scope.to_owned());
    let mut kept: Vec<&str> = all
        .split(',')
        .map(str::trim)
        .filter(|d| !d.is_empty() && scope(d) != scope(part))
        .collect();
    kept.push(part);
    kept.join(",")
}

/// A scope as users write it (upstream's or our short form) as a target.
fn target(scope: &str) -> String {
    if scope == "access" || scope.starts_with(CRATE) {
        return scope.to_owned();
    }
    match scope.strip_prefix("ztunnel") {
        Some("") => CRATE.to_owned(),
        Some(rest) if rest.starts_with("::") => format!("{CRATE}{rest}"),
        _ if is_ours(scope) => format!("{CRATE}::{scope}"),
        _ => scope.to_owned(),
    }
}

/// Whether a scope names one of our modules.
fn is_ours(scope: &str) -> bool {
    const MODULES: [&str; 12] = [
        "admin", "app", "ca", "copy", "dns", "hbone", "inpod", "proxy", "socket", "store", "tls",
        "xds",
    ];
    let first = scope.split("::").next().unwrap_or(scope);
    MODULES.contains(&first)
}

/// A filter from the environment as our targets spell it.
pub(super) fn directives(filter: &str) -> String {
    let parts = filter
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    let ours = parts.map(|part| match part.split_once('=') {
        Some((scope, level)) => format!("{}={level}", target(scope)),
        None => part.to_owned(),
    });
    ours.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(filter: &str) -> (Levels, reload::Layer<EnvFilter, Registry>) {
        let directives = directives(filter);
        let (layer, handle) = reload::Layer::new(EnvFilter::try_new(&directives).unwrap());
        (Levels::new(handle, directives), layer)
    }

    #[test]
    fn upstream_s_scopes_become_ours() {
        assert_eq!(
            directives("ztunnel::proxy=debug,info, access=warn"),
            "applink_ztunnel::proxy=debug,info,access=warn"
        );
        assert_eq!(
            directives("h2=off,xds::client=trace"),
            "h2=off,applink_ztunnel::xds::client=trace"
        );
    }

    #[test]
    fn a_level_is_replaced_a_pair_added_and_a_reset_goes_back() {
        let (levels, _layer) = levels("info");
        levels.add("debug").unwrap();
        assert_eq!(levels.current(), "debug");
        levels.add("access:trace,proxy:warn").unwrap();
        assert_eq!(
            levels.current(),
            "debug,access=trace,applink_ztunnel::proxy=warn"
        );
        levels.add("access:off").unwrap();
        assert_eq!(
            levels.current(),
            "debug,applink_ztunnel::proxy=warn,access=off"
        );
        levels.reset().unwrap();
        assert_eq!(levels.current(), "info");
    }

    #[test]
    fn what_is_not_a_level_is_refused() {
        let (levels, _layer) = levels("info");
        for text in [
            "",
            "loud",
            "access:loud",
            ":debug",
            "a=b=c",
            &format!("{}:info", "x".repeat(2000)),
        ] {
            assert!(levels.add(text).is_err(), "{text}");
        }
        assert_eq!(levels.current(), "info");
    }
}
