//! How many threads carry pod traffic.

use super::source::{Error, Keys};

/// Most threads that are ever started.
const MAX: usize = 512;

/// `ZTUNNEL_WORKER_THREADS` (a number, a percentage of the cores, or 0 for all), else the proxy configuration's
/// `concurrency`, else an explicit CPU limit, else the largest of 2, a quarter of the cores rounded up, and the CPU request.
///
/// Source: istio/ztunnel `62d8265`.
pub(super) fn count(keys: &Keys, cores: usize) -> Result<usize, Error> {
    let cores = cores.max(1);
    let key = "ZTUNNEL_WORKER_THREADS";
    if let Some(value) = keys.get(key) {
        let count = match value.strip_suffix('%') {
            Some(percent) => percent
                .trim()
                .parse::<usize>()
                .ok()
                .filter(|p| (1..=100).contains(p))
                .map(|p| share(cores, p)),
            None => value
                .parse::<usize>()
                .ok()
                .filter(|n| *n <= MAX)
                .map(|n| if n == 0 { cores } else { n }),
        };
        return count.ok_or_else(|| {
            Error::value(
                key,
                value,
                "not a number of threads",
                format!("use 0 to {MAX}, or 1% to 100%"),
            )
        });
    }
    if let Some(count) = keys.proxy.concurrency {
        return Ok(if count == 0 {
            cores
        } else {
            usize::from(count).min(MAX)
        });
    }
    for key in ["ZTUNNEL_CPU_LIMIT", "ZTUNNEL_RESOURCE_CPU_LIMIT"] {
        if let Some(limit) = cpus(keys, key)? {
            // Without a limit the downward API fills in the node's cores: that is not a limit somebody set.
            if key == "ZTUNNEL_RESOURCE_CPU_LIMIT" || limit < cores {
                return Ok(limit.clamp(1, MAX));
            }
        }
    }
    let request = cpus(keys, "ZTUNNEL_RESOURCE_CPU_REQUEST")?.unwrap_or(0);
    Ok(share(cores, 25).max(2).max(request).min(MAX))
}

fn share(cores: usize, percent: usize) -> usize {
    (cores * percent).div_ceil(100).max(1)
}

/// A Kubernetes CPU quantity in whole cores, rounded up.
fn cpus(keys: &Keys, key: &str) -> Result<Option<usize>, Error> {
    let Some(value) = keys.get(key) else {
        return Ok(None);
    };
    let whole = match value.strip_suffix('m') {
        Some(milli) => milli.parse::<usize>().ok().map(|m| m.div_ceil(1000)),
        None => value.parse::<usize>().ok().or_else(|| fraction(value)),
    };
    whole.map(Some).ok_or_else(|| {
        Error::value(
            key,
            value,
            "not an amount of CPU",
            "use a form like 2 or 500m",
        )
    })
}

fn fraction(value: &str) -> Option<usize> {
    let (whole, part) = value.split_once('.')?;
    let digits = part.bytes().all(|b| b.is_ascii_digit()) && !part.is_empty();
    let up = usize::from(part.bytes().any(|b| b != b'0'));
    digits.then_some(())?;
    whole.parse::<usize>().ok()?.checked_add(up)
}
