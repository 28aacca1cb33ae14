//! `releases`: the catalogue as a member would see it, with the cluster's MeshReleases laid over it when one answers.

use std::fmt::Write as _;
use std::process::ExitCode;

use jiff::Timestamp;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};

use super::{Failure, block_on, connect, output, print};
use crate::api::v1alpha1::MeshRelease;
use crate::catalogue::{Catalogue, Release, Source};

/// Arguments of `releases`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only what ships in this program; asks no cluster
    #[arg(long)]
    embedded: bool,
    /// What to print
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Forms of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people
    Table,
    /// For programs
    Json,
    /// For programs
    Yaml,
}

/// Prints the catalogue, newest first. A cluster that does not answer is a line on standard error, not a failure.
///
/// # Errors
/// The text cannot be made or printed.
pub fn run(args: &Args, cluster: &connect::Flags) -> Result<ExitCode, Failure> {
    let objects = if args.embedded {
        Ok(Vec::new())
    } else {
        block_on(objects(cluster))
    };
    let objects = objects.unwrap_or_else(|failure| {
        eprintln!(
            "only the releases of this program are shown: {}: {}",
            failure.what, failure.reason
        );
        Vec::new()
    });
    let catalogue = Catalogue::overlaid(&objects);
    let now = Timestamp::now();
    let text = match args.output {
        Output::Table => table(&catalogue, now),
        Output::Json => output::json("the releases", &value(&catalogue, now))?,
        Output::Yaml => output::yaml("the releases", &value(&catalogue, now))?,
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

async fn objects(cluster: &connect::Flags) -> Result<Vec<MeshRelease>, Failure> {
    let client = connect::client(cluster).await?;
    let list = Api::<MeshRelease>::all(client)
        .list(&ListParams::default())
        .await;
    list.map(|list| list.items)
        .map_err(|error| Failure::of_kube("list meshreleases.applink.dev", &error))
}

/// The catalogue as aligned columns; objects that were refused come last, with the reason.
pub fn table(catalogue: &Catalogue, now: Timestamp) -> String {
    let head = [
        "VERSION",
        "ISTIO",
        "CHANNELS",
        "KUBERNETES",
        "RELEASED",
        "END OF LIFE",
        "MOVES TO",
        "FIXES",
        "NOTE",
    ]
    .map(str::to_owned);
    let rows = std::iter::once(head)
        .chain(
            catalogue
                .newest_first()
                .map(|release| row(catalogue, release, now)),
        )
        .collect::<Vec<_>>();
    let mut text = columns(&rows);
    for (name, malformed) in catalogue.refused() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "meshrelease {name} is not used: {malformed}");
    }
    text
}

fn row(catalogue: &Catalogue, release: &Release, now: Timestamp) -> [String; 9] {
    let channels = release.channels.iter().map(|(channel, since)| {
        if *since <= now {
            format!("{channel:?}")
        } else {
            format!("{channel:?} from {}", since.strftime("%Y-%m-%d"))
        }
    });
    let channels = channels.collect::<Vec<_>>().join(", ");
    let day = |date: &Option<jiff::civil::Date>| {
        date.map_or_else(|| "-".to_owned(), |date| date.to_string())
    };
    let fixes = release
        .fixes
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    let hops = catalogue
        .one_hop(release, now)
        .iter()
        .map(|hop| hop.version.to_string())
        .collect::<Vec<_>>()
        .join(", ");
    let mut notes = Vec::new();
    if let Some(reason) = &release.withdrawn {
        notes.push(format!("withdrawn: {reason}"));
    }
    if release.source == Source::Object {
        notes.push("from the cluster".to_owned());
    }
    [
        release.version.to_string(),
        release.istio.to_string(),
        if channels.is_empty() {
            "-".to_owned()
        } else {
            channels
        },
        release.kubernetes.to_string(),
        day(&release.released),
        day(&release.end_of_life),
        if hops.is_empty() {
            "-".to_owned()
        } else {
            hops
        },
        if fixes.is_empty() {
            "-".to_owned()
        } else {
            fixes
        },
        notes.join("; "),
    ]
}

/// Rows as columns as wide as their widest cell.
pub(super) fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:width$}   ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn value(catalogue: &Catalogue, now: Timestamp) -> Value {
    let releases: Vec<Value> = catalogue
        .newest_first()
        .map(|release| release_value(catalogue, release, now))
        .collect();
    let refused: Vec<Value> = catalogue
        .refused()
        .iter()
        .map(|(name, malformed)| json!({"name": name, "reason": malformed.to_string()}))
        .collect();
    json!({"releases": releases, "refused": refused})
}

fn release_value(catalogue: &Catalogue, release: &Release, now: Timestamp) -> Value {
    let hops: Vec<String> = catalogue
        .one_hop(release, now)
        .iter()
        .map(|hop| hop.version.to_string())
        .collect();
    let channels: Vec<Value> = release
        .channels
        .iter()
        .map(|(channel, since)| json!({"name": format!("{channel:?}"), "since": since.to_string()}))
        .collect();
    let fixes: Vec<Value> = release
        .fixes
        .iter()
        .map(|fix| json!({"id": fix.id, "cvss": fix.cvss_tenths.map(|tenths| f64::from(tenths) / 10.0), "components": fix.components.iter().map(|component| component.as_str()).collect::<Vec<_>>(), "touchesNodes": fix.touches_nodes()}))
        .collect();
    let images: serde_json::Map<String, Value> = release
        .images
        .iter()
        .map(|(component, image)| {
            (
                component.as_str().to_owned(),
                Value::from(image.reference(None)),
            )
        })
        .collect();
    json!({
        "version": release.version.to_string(),
        "istioVersion": release.istio.to_string(),
        "kubernetes": {"min": release.kubernetes.min.to_string(), "max": release.kubernetes.max.to_string()},
        "gatewayAPI": release.gateway_api.map(|version| version.to_string()),
        "released": release.released.map(|date| date.to_string()),
        "endOfLife": release.end_of_life.map(|date| date.to_string()),
        "channels": channels,
        "movesTo": hops,
        "images": images,
        "fixes": fixes,
        "withdrawn": release.withdrawn,
        "source": if release.source == Source::Object { "cluster" } else { "embedded" },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(name: &str, spec: &Value) -> MeshRelease {
        serde_json::from_value(json!({"apiVersion": "applink.dev/v1alpha1", "kind": "MeshRelease", "metadata": {"name": name}, "spec": spec})).unwrap()
    }

    #[test]
    fn a_clusters_release_is_a_row_with_its_source_and_a_broken_one_a_reason() {
        let good = release(
            "9.9.0",
            &json!({"istioVersion": "1.31.0", "kubernetes": {"min": "1.30", "max": "1.36"}, "released": "2026-11-01",
            "channels": [{"name": "Rapid", "since": "2026-12-01T00:00:00Z"}], "fixes": [{"id": "CVE-1", "cvss": 8.7}], "withdrawn": {"reason": "too new"}}),
        );
        let bad = release(
            "x",
            &json!({"istioVersion": "1.31.0", "kubernetes": {"min": "1.30", "max": "1.36"}}),
        );
        let text = table(
            &Catalogue::overlaid([&good, &bad]),
            "2026-11-21T12:00:00Z".parse().unwrap(),
        );
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("VERSION   ISTIO"), "{text}");
        let cells: Vec<&str> = lines[1]
            .split("   ")
            .map(str::trim)
            .filter(|cell| !cell.is_empty())
            .collect();
        assert_eq!(
            cells,
            [
                "9.9.0",
                "1.31.0",
                "Rapid from 2026-12-01",
                "1.30 to 1.36",
                "2026-11-01",
                "-",
                "-",
                "CVE-1 (8.7)",
                "withdrawn: too new; from the cluster"
            ]
        );
        assert!(
            lines
                .last()
                .unwrap()
                .starts_with("meshrelease x is not used: "),
            "{text}"
        );
    }

    #[test]
    fn the_embedded_catalogue_has_three_lines_and_every_channel() {
        let text = table(
            &Catalogue::embedded(),
            "2026-11-21T12:00:00Z".parse().unwrap(),
        );
        for expected in [
            "1.6.",
            "1.5.",
            "1.4.",
            "Rapid",
            "Stable",
            "Extended",
            "ISTIO-SECURITY-2026-006 (7.7)",
            "1.6.0, 1.5.4, 1.4.7",
        ] {
            assert!(text.contains(expected), "{expected} is not in\n{text}");
        }
    }
}
