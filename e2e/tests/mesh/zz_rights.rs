//! Every right of the operator is used, or has a reason to be there.
//!
//! These judge the logs of all the others and need the whole run. `make test` runs them after both its clusters; by hand
//! the name puts this module last, as libtest runs tests by name on one thread. A cluster that an older build has used has
//! to be taken down first.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use e2e::audit::{self, Answer, Entry, Grant};
use e2e::stage::Stage;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding, RoleRef};
use kube::api::{Api, ListParams};

use crate::fixture::{OPERATOR, audit_logs, installed, on_stage};

/// One grant a line: whether the tests never use it or only sometimes do, the grant, and the reason it is there.
const REMAINDER: &str = include_str!("rbac-remainder.txt");
const ROLE: &str = "applink-operator";
const ADMINISTRATOR: &str = "kubernetes-admin";
/// Whom the audit log names for what the API server asks itself: the roles, when it starts.
const API_SERVER: &str = "system:apiserver";
/// How long the API server may take to act on rights that were given back.
const GRACE: Duration = Duration::from_secs(10);
/// How long before and after it has asked for the roles an API server that starts may not know them.
const START: SignedDuration = SignedDuration::from_secs(3);

#[derive(Debug, PartialEq, Eq)]
enum Use {
    Never,
    Sometimes,
}

fn remainder() -> BTreeMap<String, Use> {
    REMAINDER
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (grant, reason) = line
                .split_once(" # ")
                .unwrap_or_else(|| panic!("no reason: {line}"));
            assert!(!reason.trim().is_empty(), "no reason: {line}");
            let (uses, grant) = grant.trim().split_once(' ').unwrap();
            let uses = match uses {
                "never" => Use::Never,
                "sometimes" => Use::Sometimes,
                other => panic!("{other} is neither never nor sometimes: {line}"),
            };
            (grant.trim().to_owned(), uses)
        })
        .collect()
}

/// What the roles on the cluster allow the operator.
async fn granted(stage: &Stage) -> BTreeSet<Grant> {
    let named = ListParams::default().fields(&format!("metadata.name={ROLE}"));
    let cluster: Api<ClusterRole> = Api::all(stage.client.clone());
    let roles: Api<Role> = Api::all(stage.client.clone());
    let mut all = BTreeSet::new();
    for role in cluster.list(&named).await.unwrap() {
        all.extend(audit::grants("", &role.rules.unwrap_or_default()));
    }
    for role in roles.list(&named).await.unwrap() {
        let namespace = role.metadata.namespace.unwrap_or_default();
        all.extend(audit::grants(&namespace, &role.rules.unwrap_or_default()));
    }
    assert!(!all.is_empty(), "no role {ROLE} is installed");
    all
}

/// What the API server authorises inside a request, and so never logs.
async fn asked_within(stage: &Stage, entries: &[Entry]) -> Vec<Entry> {
    let with_verb = |entry: &Entry, verb: &str| Entry {
        verb: verb.to_owned(),
        ..entry.clone()
    };
    let mut all = Vec::new();
    for entry in entries {
        // Server-side apply of an object that is not there creates it.
        if entry.verb == "patch" && entry.code == 201 {
            all.push(with_verb(entry, "create"));
        }
        // Upgrading a connection to a pod is a GET that must be allowed to create as well.
        if entry.verb == "get" && entry.resource == "pods/portforward" {
            all.push(with_verb(entry, "create"));
        }
    }
    // A binding that stands was made by somebody who may bind its role.
    let ours = ListParams::default().labels("applink.dev/member");
    let cluster: Api<ClusterRoleBinding> = Api::all(stage.client.clone());
    let namespaced: Api<RoleBinding> = Api::all(stage.client.clone());
    let mut bound: Vec<RoleRef> = Vec::new();
    bound.extend(
        cluster
            .list(&ours)
            .await
            .unwrap()
            .into_iter()
            .map(|one| one.role_ref),
    );
    bound.extend(
        namespaced
            .list(&ours)
            .await
            .unwrap()
            .into_iter()
            .map(|one| one.role_ref),
    );
    all.extend(bound.into_iter().map(|role| Entry {
        at: Timestamp::now(),
        answered: Timestamp::now(),
        verb: "bind".to_owned(),
        resource: format!("{}s", role.kind.to_lowercase()),
        group: role.api_group,
        namespace: String::new(),
        name: role.name,
        code: 200,
        agent: String::new(),
        answer: Answer::default(),
    }));
    all
}

#[test]
fn every_right_was_used_or_is_listed_with_the_reason_it_is_there_for() {
    on_stage(|stage| async move {
        installed(stage).await;
        let mut entries: Vec<Entry> = (audit_logs(stage).iter())
            .flat_map(|log| audit::entries(log, OPERATOR).unwrap())
            .collect();
        entries.retain(|entry| entry.code < 400 || entry.code == 404 || entry.code == 409);
        entries.extend(asked_within(stage, &entries).await);
        let granted = granted(stage).await;
        let listed = remainder();
        let unused: BTreeSet<String> = audit::unused(&granted, &entries)
            .into_iter()
            .map(ToString::to_string)
            .collect();
        let all: BTreeSet<String> = granted.iter().map(ToString::to_string).collect();
        let mut wrong = Vec::new();
        for grant in &unused {
            if !listed.contains_key(grant) {
                wrong.push(format!("granted, never used and not listed: {grant}"));
            }
        }
        for (grant, uses) in &listed {
            if !all.contains(grant) {
                wrong.push(format!("listed, but not granted any more: {grant}"));
            } else if *uses == Use::Never && !unused.contains(grant) {
                wrong.push(format!("listed as never used, but it was: {grant}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

/// Whether the administrator had taken rights away then and not given them back for long enough, or the API server had been
/// started and did not know any yet: it reads the roles by itself, and answers meanwhile. Tests take by deleting or updating,
/// and give by patching.
fn is_excused(refusal: &Entry, changes: &[Entry], starts: &[Entry]) -> bool {
    let apart = |start: &Entry| refusal.at.duration_since(start.at).abs();
    if starts.iter().any(|start| apart(start) <= START) {
        return true;
    }
    let mut taken = false;
    for change in changes.iter().filter(|change| change.at <= refusal.at) {
        if ["delete", "update"].contains(&change.verb.as_str()) {
            taken = true;
        } else if change.at + GRACE <= refusal.at {
            taken = false;
        }
    }
    taken
}

#[test]
fn the_operator_was_never_refused_what_it_asked_for() {
    on_stage(|stage| async move {
        for log in audit_logs(stage) {
            assert_eq!(refused(&log), BTreeSet::new(), "{}", log.display());
        }
    });
}

/// What the operator was refused, but for what is excused.
fn refused(log: &Path) -> BTreeSet<String> {
    let changes: Vec<Entry> = audit::entries(log, ADMINISTRATOR)
        .unwrap()
        .into_iter()
        .filter(|entry| {
            let verb = entry.verb.as_str();
            let is_role = entry.group == "rbac.authorization.k8s.io"
                && ["create", "update", "patch", "delete"].contains(&verb);
            // Its roles go with its namespace.
            let is_home = entry.resource == "namespaces" && verb == "delete";
            entry.name == ROLE && entry.code < 300 && (is_role || is_home)
        })
        .collect();
    let mut starts = audit::entries(log, API_SERVER).unwrap();
    starts.retain(|entry| entry.verb == "list" && entry.resource == "clusterroles");
    audit::entries(log, OPERATOR)
        .unwrap()
        .iter()
        .filter(|entry| entry.code == 403 && !is_excused(entry, &changes, &starts))
        .map(ToString::to_string)
        .collect()
}

#[test]
fn a_refusal_is_excused_only_while_rights_are_taken_away_or_the_api_server_starts() {
    let change = |second: i64, verb: &str| Entry {
        at: Timestamp::from_second(second).unwrap(),
        answered: Timestamp::from_second(second).unwrap(),
        verb: verb.to_owned(),
        resource: "clusterrolebindings".to_owned(),
        group: "rbac.authorization.k8s.io".to_owned(),
        namespace: String::new(),
        name: ROLE.to_owned(),
        code: 200,
        agent: String::new(),
        answer: Answer::default(),
    };
    let starts = [change(500, "list")];
    let changes = [
        change(10, "patch"),
        change(100, "delete"),
        change(200, "patch"),
        change(300, "update"),
        change(400, "patch"),
    ];
    for (second, excused) in [
        (99, false),
        (101, true),
        (209, true),
        (211, false),
        (301, true),
        (411, false),
        (496, false),
        (498, true),
        (503, true),
        (504, false),
    ] {
        assert_eq!(
            is_excused(&change(second, "list"), &changes, &starts),
            excused,
            "{second}"
        );
    }
}
