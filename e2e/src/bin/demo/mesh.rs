//! The mesh: installed by its own manifests, from one MeshMember, and shown at the end.

use std::time::{Duration, Instant};

use e2e::command;
use serde_json::Value;

use crate::ground::Ground;
use crate::screen::Screen;
use crate::{Error, objects, releases};

/// How long the mesh may take from apply to Ready, with images present.
const READY: Duration = Duration::from_mins(3);
/// How often a state is asked for while waiting.
const PERIOD: Duration = Duration::from_millis(300);

/// Installs the operator, applies a MeshMember and shows its progress until it is ready.
pub fn install(ground: &Ground, screen: Screen) -> Result<(), Error> {
    screen.title("Install the operator by its own manifests");
    let image = &ground.references.applink;
    screen.shell(&format!("applink install --apply --image {image}"), "");
    screen.stream(&mut ground.applink(&["install", "--apply", "--image", image]))?;

    releases::tidy(ground)?;
    screen.title("Ask for a mesh: one MeshMember");
    let release = objects::release(&ground.references);
    let member = objects::member();
    screen.note("a MeshRelease says where the images of 1.6.0 are on this cluster; the catalogue in the program stays as it is");
    ground.apply(&release.to_string())?;
    screen.note("strategy is for the second act, so that it is short: nodes are watched for minutes unless the spec says otherwise");
    screen.shell("kubectl apply -f -", &objects::yaml(&member));
    ground.apply(&member.to_string())?;
    follow(ground, screen)
}

/// Prints each new step until the member is ready.
fn follow(ground: &Ground, screen: Screen) -> Result<(), Error> {
    let started = Instant::now();
    let mut shown = String::new();
    loop {
        let member: Value = serde_json::from_str(&ground.ask(&[
            "get",
            "meshmember",
            objects::MEMBER,
            "-o",
            "json",
        ])?)
        .unwrap_or_default();
        let line = progress(&member);
        if line != shown {
            screen.note(&line);
            shown.clone_from(&line);
        }
        if is_ready(&member) {
            screen.note(&format!(
                "ready {:.1} s after the apply",
                started.elapsed().as_secs_f64()
            ));
            return Ok(());
        }
        if started.elapsed() >= READY {
            let picture = command::output(&mut ground.applink(&["status"])).unwrap_or(line);
            return Err(Error::Late {
                what: "a ready mesh".to_owned(),
                seconds: READY.as_secs(),
                seen: picture,
            });
        }
        std::thread::sleep(PERIOD);
    }
}

/// Whether the operator has seen the latest spec, finished its work and says Ready.
pub fn is_ready(member: &Value) -> bool {
    let current = member["status"]["observedGeneration"] == member["metadata"]["generation"];
    current
        && condition(member, "Ready").is_some_and(|ready| ready["status"] == "True")
        && condition(member, "UpToDate").is_some_and(|up| up["status"] == "True")
}

pub fn condition<'a>(member: &'a Value, kind: &str) -> Option<&'a Value> {
    member["status"]["conditions"]
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == kind)
}

/// One line: the step, how far the nodes are, and what is waited for.
pub fn progress(member: &Value) -> String {
    if let Some(stalled) = condition(member, "Stalled") {
        return format!(
            "{}: {}",
            text(&stalled["reason"]),
            text(&stalled["message"])
        );
    }
    let rollout = &member["status"]["rollout"];
    if rollout.is_object() {
        let wave = rollout["wave"].as_i64();
        let wave = wave.map_or_else(String::new, |wave| format!(", wave {wave}"));
        let nodes = &rollout["nodes"];
        let nodes = if nodes.is_object() {
            format!(" ({} of {} nodes)", nodes["updated"], nodes["total"])
        } else {
            String::new()
        };
        return format!(
            "{}{wave}{nodes}: {}",
            text(&rollout["step"]),
            text(&rollout["message"])
        );
    }
    match condition(member, "Ready") {
        Some(ready) => format!("{}: {}", text(&ready["reason"]), text(&ready["message"])),
        None => "the operator has not looked yet".to_owned(),
    }
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Shows what the mesh says about itself.
pub fn show(ground: &Ground, screen: Screen) -> Result<(), Error> {
    screen.title("What the mesh says about itself");
    screen.shell("kubectl get mm", &ground.ask(&["get", "mm"])?);
    screen.shell(
        "applink status",
        &command::output(&mut ground.applink(&["status"]))?,
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn progress_prefers_what_stalls_over_the_step_over_the_condition() {
        let mut member = json!({"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "Installing", "message": "not yet"}]}});
        assert_eq!(progress(&member), "Installing: not yet");
        member["status"]["rollout"] = json!({"step": "Nodes", "wave": 2, "message": "node-2 waits", "nodes": {"updated": 1, "total": 2}});
        assert_eq!(
            progress(&member),
            "Nodes, wave 2 (1 of 2 nodes): node-2 waits"
        );
        member["status"]["conditions"] = json!([{"type": "Stalled", "status": "True", "reason": "RootMissing", "message": "restore it"}]);
        assert_eq!(progress(&member), "RootMissing: restore it");
        assert_eq!(progress(&json!({})), "the operator has not looked yet");
    }

    #[test]
    fn ready_means_the_latest_spec() {
        let member = |observed: i64| {
            json!({"metadata": {"generation": 2}, "status": {"observedGeneration": observed, "conditions": [
                {"type": "Ready", "status": "True"}, {"type": "UpToDate", "status": "True"}]}})
        };
        assert!(is_ready(&member(2)));
        assert!(!is_ready(&member(1)));
    }
}
