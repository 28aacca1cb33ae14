//! Two operators on one API server, as processes: one acts and the other waits, and both tell of themselves.
//!
//! Needs the release build of `applink`; no node, and no root.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed test is the report"
)]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use applink::api::v1alpha1::MeshMember;
use e2e::control_plane::ControlPlane;
use e2e::programs::{self, Module};
use e2e::progress::Progress;
use e2e::stage::{Stage, eventually};
use e2e::{audit, built, command, process};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ListParams};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

const USER: &str = "system:serviceaccount:applink-operator:applink-operator";
/// For what takes moments, on a machine that does much else.
const PATIENT: Duration = Duration::from_mins(1);
/// How long a leader that died keeps the Lease.
const LEASE: Duration = Duration::from_secs(15);

/// An operator as a process of its own; killed when dropped.
struct Operator {
    process: Child,
    admin: SocketAddr,
    log: PathBuf,
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Operator {
    /// Starts one of that name, with the rights that its own manifests give.
    fn start(plane: &ControlPlane, name: &str, form: &str) -> Self {
        let folder = process::temporary_folder(name).unwrap();
        let (log, crds) = (folder.join("log"), folder.join("crds"));
        std::fs::create_dir(&crds).unwrap();
        // It was free a moment ago.
        let admin = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .unwrap();
        let process = Command::new(built::applink().unwrap())
            .args(["operator", "--identity", name, "--log-format", form])
            .arg(format!("--admin={admin}"))
            .arg("--crds")
            .arg(crds)
            .env("KUBECONFIG", plane.kubeconfig_as(USER, None).unwrap())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self {
            process,
            admin,
            log,
        }
    }

    /// Code and text of an answer over HTTP.
    fn get(&self, path: &str) -> Result<(u16, String), String> {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(self.admin)?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: it\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        };
        let text = ask().map_err(|error| error.to_string())?;
        let code = text.split(' ').nth(1).and_then(|code| code.parse().ok());
        let (_, body) = text.split_once("\r\n\r\n").unwrap_or_default();
        Ok((code.ok_or_else(|| text.clone())?, body.to_owned()))
    }

    /// Waits until it is ready and alive and its metrics say so.
    async fn until_metric(&self, line: &str) {
        eventually(line, PATIENT, || async {
            for path in ["/livez", "/readyz"] {
                let told = |error| format!("{error}: {}", command::tail(&self.log(), 5));
                let answer = self.get(path).map_err(told)?;
                if answer != (200, "ok".to_owned()) {
                    return Err(format!("{path}: {answer:?}"));
                }
            }
            let (_, metrics) = self.get("/metrics")?;
            if metrics.lines().any(|found| found == line) {
                Ok(())
            } else {
                Err(metrics)
            }
        })
        .await
        .unwrap();
    }

    /// Waits until it has ended. Its code, and how long that took.
    async fn until_ended(&mut self) -> (ExitStatus, Duration) {
        let clock = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return (status, clock.elapsed());
            }
            assert!(clock.elapsed() < PATIENT, "it does not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Every line of a log in JSON, as it is.
    fn records(&self) -> Vec<Value> {
        let records: Vec<Value> = self
            .log()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
            .collect();
        for record in &records {
            for key in ["timestamp", "level", "target", "message"] {
                assert!(record[key].is_string(), "{key} is missing: {record}");
            }
        }
        records
    }
}

fn apply(plane: &ControlPlane, text: &str) -> Result<String, String> {
    let kubectl = programs::build(Module::Kubernetes, Progress::silent())
        .unwrap()
        .join("kubectl");
    let kubeconfig = format!("--kubeconfig={}", plane.kubeconfig().display());
    let mut kubectl = command::command(kubectl, [kubeconfig]);
    kubectl.args(["apply", "--server-side", "--validate=false", "-f", "-"]);
    command::feed(&mut kubectl, text).map_err(|error| command::chain(&error))
}

/// Who holds the Lease; empty when nobody does.
async fn holder(leases: &Api<Lease>) -> String {
    let lease = leases.get_opt("applink-operator").await.unwrap();
    let spec = lease.and_then(|lease| lease.spec);
    spec.and_then(|spec| spec.holder_identity)
        .unwrap_or_default()
}

/// Waits until that one holds the Lease; how long that took.
async fn until_held(leases: &Api<Lease>, by: &str) -> Duration {
    let clock = Instant::now();
    eventually(&format!("{by} leads"), PATIENT, || async {
        let found = holder(leases).await;
        (found == by).then_some(()).ok_or(found)
    })
    .await
    .unwrap();
    clock.elapsed()
}

/// Waits until condition and Event tell why the member is not accepted.
async fn until_told(client: &kube::Client, name: &str, condition: &str, words: &str) {
    let members: Api<MeshMember> = Api::all(client.clone());
    let events: Api<Event> = Api::namespaced(client.clone(), "default");
    eventually(&format!("{name} is told"), PATIENT, || async {
        let member = members.get(name).await.map_err(|error| error.to_string())?;
        let held = member.status.clone().unwrap_or_default().conditions;
        let is_told = held.iter().any(|one| {
            one.type_ == "Accepted" && one.reason == condition && one.message.contains(words)
        });
        let list = events
            .list(&ListParams::default())
            .await
            .map_err(|error| error.to_string())?;
        let is_said = list.iter().any(|event| {
            (event.regarding.as_ref()).is_some_and(|about| about.uid == member.metadata.uid)
                && event.reason.as_deref() == Some(condition)
                && event.note.as_ref().is_some_and(|note| note.contains(words))
        });
        if is_told && is_said {
            Ok(())
        } else {
            Err(format!("{held:?}"))
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn of_two_operators_one_acts_and_the_other_takes_over_and_both_tell_of_themselves() {
    let plane = ControlPlane::start().await.unwrap();
    let client = plane.client().await.unwrap();
    let mut print = command::command(built::applink().unwrap(), ["install"]);
    apply(&plane, &command::output(&mut print).unwrap()).unwrap();
    let leases: Api<Lease> = Api::namespaced(client.clone(), "applink-operator");

    let mut first = Operator::start(&plane, "first", "json");
    first.until_metric("applink_leading 1").await;
    assert_eq!(holder(&leases).await, "first");
    let mut second = Operator::start(&plane, "second", "text");
    second.until_metric("applink_leading 0").await;

    // Only the one that leads looks after members.
    let member = Stage::member("early", &json!({"upgrade": {"version": "9.9"}}));
    eventually("the kind is served", PATIENT, || async {
        apply(&plane, &member.to_string())
    })
    .await
    .unwrap();
    until_told(
        &client,
        "early",
        "UnknownVersion",
        "spec.upgrade.version 9.9",
    )
    .await;
    first.until_metric("applink_members 1").await;
    second.until_metric("applink_members 0").await;
    assert_eq!(first.get("/else").unwrap().0, 404);
    assert_eq!(holder(&leases).await, "first");

    // One that is told to stop gives the Lease back, and the other leads at once.
    kill(
        Pid::from_raw(first.process.id().try_into().unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
    let (status, took) = first.until_ended().await;
    assert!(status.success(), "{status}: {}", first.log());
    assert!(took < Duration::from_secs(5), "it ended after {took:?}");
    let took = until_held(&leases, "second").await;
    assert!(took < LEASE / 2, "handed over after {took:?}");
    eprintln!("handed over after {:.1} s", took.as_secs_f64());
    second.until_metric("applink_leading 1").await;
    let late = Stage::member("late", &json!({"upgrade": {"version": "9.9"}}));
    apply(&plane, &late.to_string()).unwrap();
    until_told(&client, "late", "ClusterAlreadyMember", "MeshMember early").await;

    // One that dies holds it until it has not been renewed for its whole life.
    let third = Operator::start(&plane, "third", "json");
    third.until_metric("applink_leading 0").await;
    second.process.kill().unwrap();
    let took = until_held(&leases, "third").await;
    eprintln!("taken over after {:.1} s", took.as_secs_f64());
    // It was renewed up to 5 s before, and is looked at every 2 s.
    assert!(
        took + Duration::from_secs(6) > LEASE && took < LEASE + Duration::from_secs(10),
        "taken over after {took:?}"
    );
    third.until_metric("applink_leading 1").await;
    third.until_metric("applink_members 2").await;

    // In the log of a machine every line is a record, and the conditions are among them.
    let records = first.records();
    let with = |message: &str| {
        let mut all = records.iter();
        all.any(|record| {
            record["message"]
                .as_str()
                .is_some_and(|it| it.contains(message))
        })
    };
    for message in ["started", "leading", "told to stop", "stopped"] {
        assert!(with(message), "{message} is missing:\n{}", first.log());
    }
    let condition = records
        .iter()
        .find(|record| record["reason"] == "UnknownVersion");
    let condition = condition.unwrap_or_else(|| panic!("{}", first.log()));
    assert_eq!(
        [&condition["kind"], &condition["name"]],
        ["MeshMember", "early"]
    );
    let text = second.log();
    let form = text.lines().find(|line| line.contains("leading")).unwrap();
    assert!(
        form.contains("INFO") && serde_json::from_str::<Value>(form).is_err(),
        "{form}"
    );

    // The API server knows whom it talked to.
    let agent = concat!("applink/", env!("CARGO_PKG_VERSION"));
    let entries = audit::entries(&plane.audit_log(), USER).unwrap();
    assert!(entries.len() > 30, "{entries:?}");
    let strangers: Vec<_> = entries.iter().filter(|one| one.agent != agent).collect();
    assert!(strangers.is_empty(), "{strangers:?}");
}
