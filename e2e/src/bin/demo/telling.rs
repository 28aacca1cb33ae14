//! A rollout told line by line: each step once with what it is for, then what happens on which node.

use serde_json::Value;

use crate::mesh::text;

/// What each step of a rollout is for.
const STEPS: [(&str, &str); 6] = [
    ("Prepull", "every node pulls the images first"),
    (
        "ControlPlane",
        "the new istiod comes beside the old one, and has to sign a certificate",
    ),
    (
        "Nodes",
        "one after the other: the agent is replaced, the new proxy comes beside the old one and takes over, the old one drains and goes",
    ),
    ("Verify", "every node is read once more"),
    ("Finish", "the new release becomes the default"),
    ("Retire", "what belonged to the other release goes"),
];
/// What the operator says of itself rather than of the cluster.
const INNER: [&str; 4] = [
    "has not been asked yet",
    "what room it has is asked",
    "it is being applied",
    "it is being kept off",
];

/// Remembers what it has told.
#[derive(Debug, Default)]
pub struct Telling {
    step: String,
    message: String,
    returns: bool,
}

impl Telling {
    /// The lines that are new in what a member says.
    pub fn lines(&mut self, member: &Value) -> Vec<String> {
        let rollout = &member["status"]["rollout"];
        let mut lines = Vec::new();
        if !self.returns && goes_back(member) {
            self.returns = true;
            lines.push("it has failed, and goes back; what it did is undone in reverse".to_owned());
        }
        let step = text(&rollout["step"]);
        let gloss = STEPS.iter().find(|(name, _)| *name == step);
        if let Some((name, gloss)) = gloss.filter(|_| step != self.step) {
            step.clone_into(&mut self.step);
            // On the way back the same steps have other reasons.
            let gloss = if self.returns { "" } else { gloss };
            lines.push(format!("{name}: {gloss}").trim_end_matches(": ").to_owned());
        }
        let message = about(text(&rollout["message"]));
        let is_inner = INNER.iter().any(|inner| message.contains(inner));
        if !message.is_empty() && !is_inner && message != self.message && gloss.is_some() {
            message.clone_into(&mut self.message);
            let wave = rollout["wave"].as_i64().filter(|_| step == "Nodes");
            let wave = match wave {
                Some(_) if self.returns => "back, ".to_owned(),
                Some(wave) => format!("wave {wave}, "),
                None => String::new(),
            };
            lines.push(format!("    {wave}{message}"));
        }
        lines
    }
}

/// What arrives has failed here.
fn goes_back(member: &Value) -> bool {
    let status = &member["status"];
    let failed = status["failedReleases"].as_array();
    let arrives = &status["rollout"]["to"];
    arrives.is_string()
        && failed.is_some_and(|all| all.iter().any(|one| one["version"] == *arrives))
}

/// A message without the name of the one object that the whole step is about.
fn about(message: &str) -> &str {
    let is_about = |kind: &str| message.starts_with(kind);
    match message.split_once(": ") {
        Some((_, rest)) if is_about("DaemonSet ") || is_about("Deployment ") => rest,
        _ => message,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_step_is_explained_once_and_what_happens_is_told_when_it_changes() {
        let says = |step: &str, message: &str| json!({"status": {"rollout": {"step": step, "wave": 1, "message": message}}});
        let mut telling = Telling::default();
        assert_eq!(telling.lines(&says("Preflight", "")), [""; 0]);
        let first = telling.lines(&says("Nodes", "Node a: it begins"));
        assert!(
            first[0].starts_with("Nodes: one after the other"),
            "{first:?}"
        );
        assert_eq!(first[1..], ["    wave 1, Node a: it begins"]);
        assert_eq!(telling.lines(&says("Nodes", "Node a: it begins")), [""; 0]);
        assert_eq!(
            telling.lines(&says("Nodes", "Node a: x: it has not been asked yet")),
            [""; 0]
        );
        let mut back = says("Nodes", "Node a: its proxy is not ready");
        back["status"]["rollout"]["to"] = json!("1.6.3");
        back["status"]["failedReleases"] = json!([{"version": "1.6.3"}]);
        let back = telling.lines(&back);
        assert!(back[0].starts_with("it has failed"), "{back:?}");
        assert_eq!(back[1..], ["    back, Node a: its proxy is not ready"]);
        assert_eq!(telling.lines(&json!({})), [""; 0]);
        assert_eq!(about("DaemonSet a/b: 1 of 2"), "1 of 2");
    }
}
