//! What a proxy has counted of its connections, as it tells it: by a page of ours, or in its metrics as upstream's does.

use serde_json::Value;

use super::signals::Signals;
use crate::facts::{Connections, Evidence};
use crate::names;

/// Reasons that are told by the label `response_flags`, and that a proxy may be the cause of: it could not reach the other
/// end, or could not agree with it. What a policy denies is meant; what has no name is an end of either side.
const BLAMED: [&str; 5] = [
    "CONNECT",
    "TLS_FAILURE",
    "H2_HANDSHAKE_FAILURE",
    "NETWORK_POLICY",
    "IDENTITY_ERROR",
];
/// Upstream's counters.
const OPENED: &str = "istio_tcp_connections_opened_total";
const FAILED: &str = "istio_tcp_connections_failed_total";
/// The second without its suffix: how the family is called where it has no sample yet.
const FAMILY: &str = "istio_tcp_connections_failed";

/// What a proxy has counted since it started.
pub async fn counts(signals: &dyn Signals, pod: &str) -> Result<Evidence, String> {
    let counted = signals.counted(pod).await?;
    let text = counted.map_or_else(
        || "it does not count which connections fail".to_owned(),
        |counted| format!("{counted} connections failed"),
    );
    Ok(Evidence {
        good: true,
        text,
        counted,
        ..Evidence::default()
    })
}

/// Reads `/connections` of our proxy: `{"opened": 7, "failed": {"CONNECT": 1}}`.
pub fn by_reason(body: &[u8]) -> Result<Connections, String> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| format!("/connections is no JSON: {error}"))?;
    let opened = value.get("opened").and_then(Value::as_u64);
    let failed = value.get("failed").and_then(Value::as_object);
    let (Some(opened), Some(failed)) = (opened, failed) else {
        return Err("/connections holds no counts".to_owned());
    };
    let failed = BLAMED
        .iter()
        .filter_map(|reason| failed.get(*reason)?.as_u64())
        .fold(0, u64::saturating_add);
    Ok(Connections::new(opened, failed))
}

/// Reads metrics, the probe's own connections left out; none where failures are not counted: then nothing that is held
/// against this would mean anything.
pub fn by_metrics(body: &[u8]) -> Option<Connections> {
    let (mut opened, mut failed, mut is_counted) = (0_u64, 0_u64, false);
    // Of either end.
    let probe = format!("_workload_namespace=\"{}\"", names::PROBE_NAMESPACE);
    let is_users = |labels: &str| !labels.contains(&probe);
    for line in String::from_utf8_lossy(body).lines() {
        is_counted |= line.contains(FAMILY);
        if let Some((_, count)) = sample(line, OPENED).filter(|(labels, _)| is_users(labels)) {
            opened = opened.saturating_add(count);
        } else if let Some((labels, count)) = sample(line, FAILED) {
            // A quotation mark within a value is escaped, so this is the label itself.
            let is_blamed = |flag: &str| labels.contains(&format!("response_flags=\"{flag}\""));
            if is_users(labels) && BLAMED.into_iter().any(is_blamed) {
                failed = failed.saturating_add(count);
            }
        }
    }
    is_counted.then(|| Connections::new(opened, failed))
}

/// The labels and the value of a line that is a sample of this counter.
fn sample<'a>(line: &'a str, name: &str) -> Option<(&'a str, u64)> {
    let rest = line.strip_prefix(name)?.strip_prefix('{')?;
    let (labels, rest) = rest.rsplit_once('}')?;
    let value = rest.split_whitespace().next()?;
    let whole = value.split('.').next()?;
    Some((labels, whole.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denials_and_ends_without_a_name_are_nobodys_fault() {
        let body = br#"{"opened": 90, "failed": {"-": 7, "DENY": 5, "CONNECT": 3, "IDENTITY_ERROR": 1, "ELSE": 9}}"#;
        assert_eq!(by_reason(body), Ok(Connections::new(90, 4)));
        let none = by_reason(br#"{"opened": 90, "failed": {}}"#);
        assert_eq!(none, Ok(Connections::new(90, 0)));
        for body in [
            &b"<html>"[..],
            b"{}",
            br#"{"opened": -1, "failed": {}}"#,
            br#"{"opened": 1, "failed": 2}"#,
        ] {
            assert!(by_reason(body).is_err(), "{}", body.escape_ascii());
        }
    }

    #[test]
    fn samples_of_all_label_sets_but_the_probes_are_added_up() {
        let text = concat!(
            "# HELP istio_tcp_connections_opened The total number of TCP connections opened.\n",
            "# TYPE istio_tcp_connections_opened counter\n",
            "istio_tcp_connections_opened_total{reporter=\"source\",source_app=\"a\\\"} 9\",response_flags=\"-\"} 40\n",
            "istio_tcp_connections_opened_total{reporter=\"destination\",response_flags=\"-\"} 50.0\n",
            "istio_tcp_connections_closed_total{reporter=\"source\",response_flags=\"-\"} 7\n",
            "# TYPE istio_tcp_connections_failed counter\n",
            "istio_tcp_connections_failed_total{reporter=\"source\",response_flags=\"CONNECT\",source_app=\"x\"} 2\n",
            "istio_tcp_connections_failed_total{reporter=\"source\",response_flags=\"TLS_FAILURE\"} 1\n",
            "istio_tcp_connections_failed_total{source_app=\"response_flags=\\\"CONNECT\\\"\",response_flags=\"DENY\"} 8\n",
            "istio_tcp_connections_failed_total{reporter=\"source\",response_flags=\"CONNECT\"} much\n",
            "istio_tcp_connections_opened_total{source_workload_namespace=\"applink-probe\",response_flags=\"-\"} 10\n",
            "istio_tcp_connections_failed_total{destination_workload_namespace=\"applink-probe\",response_flags=\"CONNECT\"} 10\n",
            "# EOF\n",
        );
        assert_eq!(by_metrics(text.as_bytes()), Some(Connections::new(90, 3)));
    }

    #[test]
    fn who_does_not_count_failures_has_counted_nothing() {
        let opened = b"istio_tcp_connections_opened_total{reporter=\"source\"} 40\n";
        assert_eq!(by_metrics(opened), None);
        let told = [
            opened,
            &b"# TYPE istio_tcp_connections_failed counter\n"[..],
        ]
        .concat();
        assert_eq!(by_metrics(&told), Some(Connections::new(40, 0)));
    }
}
