//! Releases that come and go in the second act. Each run of the demo takes the next patches: what an earlier one left stays.

use e2e::images::broken::Broken;
use serde_json::{Value, json};

use crate::Error;
use crate::ground::Ground;

/// The minor that the demo stays in.
const MINOR: &str = "1.6.";
/// Why the bad release is withdrawn.
const REASON: &str = "its node proxy never gets ready";

/// Versions for a good release and for a bad one that no run before this one has used.
pub fn next(ground: &Ground) -> Result<[String; 2], Error> {
    let newest = newest_patch(&all(ground)?);
    Ok([1, 2].map(|more| format!("{MINOR}{}", newest + more)))
}

/// Withdraws what a run that was cut short has left as if it were good.
pub fn tidy(ground: &Ground) -> Result<(), Error> {
    for version in left_behind(&all(ground)?) {
        withdraw(ground, &version)?;
    }
    Ok(())
}

/// The command that withdraws a release, as one would type it.
pub fn withdrawal(version: &str) -> String {
    format!(
        "kubectl patch meshrelease {version} --type merge -p '{}'",
        patch()
    )
}

/// Withdraws a release; what kubectl says.
pub fn withdraw(ground: &Ground, version: &str) -> Result<String, Error> {
    let patch = patch().to_string();
    ground.ask(&[
        "patch",
        "meshrelease",
        version,
        "--type",
        "merge",
        "-p",
        &patch,
    ])
}

fn patch() -> Value {
    json!({"spec": {"withdrawn": {"reason": REASON}}})
}

fn all(ground: &Ground) -> Result<Vec<Value>, Error> {
    let list = ground.ask(&["get", "meshreleases", "-o", "json"])?;
    let list: Value = serde_json::from_str(&list).unwrap_or_default();
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

fn newest_patch(releases: &[Value]) -> u32 {
    let patch = |release: &Value| -> Option<u32> {
        let name = release["metadata"]["name"].as_str()?;
        name.strip_prefix(MINOR)?.parse().ok()
    };
    releases.iter().filter_map(patch).max().unwrap_or_default()
}

fn left_behind(releases: &[Value]) -> Vec<String> {
    let (component, reference) = Broken::MuteProxy.image();
    let repository = reference.split(':').next();
    let is_bad = |release: &&Value| {
        let spec = &release["spec"];
        spec["images"][component]["repository"].as_str() == repository
            && spec["withdrawn"].is_null()
    };
    let name = |release: &Value| release["metadata"]["name"].as_str().map(str::to_owned);
    releases.iter().filter(is_bad).filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_run_takes_the_next_patches_and_withdraws_what_is_bad() {
        let release = |name: &str, repository: &str| json!({"metadata": {"name": name}, "spec": {"images": {"applink": {"repository": repository}}}});
        let mut all = vec![
            release("1.6.0", "localhost/applink/applink"),
            release("1.6.10", "localhost/applink/broken"),
            release("1.6.9", "localhost/applink/applink"),
            release("1.7.11", "localhost/applink/applink"),
        ];
        assert_eq!(newest_patch(&all), 10);
        assert_eq!(left_behind(&all), ["1.6.10"]);
        all[1]["spec"]["withdrawn"] = json!({"reason": REASON});
        assert_eq!(left_behind(&all), [""; 0]);
        assert_eq!(newest_patch(&[]), 0);
    }
}
