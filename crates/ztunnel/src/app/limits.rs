//! Limits of the process.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::{info, warn};

/// Raises the limit on open descriptors to what the system allows: each connection takes two.
pub(super) fn raise_descriptors() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        if soft < hard {
            setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        }
        Ok((soft, hard))
    });
    match raised {
        Ok((soft, hard)) => info!(before = soft, now = hard, "limit on open descriptors"),
        Err(error) => warn!(%error, "cannot raise the limit on open descriptors"),
    }
}
