//! The shop, and what the mesh does for it.

use std::time::{Duration, Instant};

use e2e::command;
use serde_json::Value;

use crate::ground::Ground;
use crate::objects::{self, OUTSIDE, PORT, SHOP, TRAFFIC};
use crate::screen::Screen;
use crate::{Error, claim};

/// How long a state may take to become true.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often it is asked for.
const PERIOD: Duration = Duration::from_millis(200);

/// Where the pods of the shop are.
#[derive(Debug)]
pub struct Witness {
    /// Address of the pod of `cart`.
    pub cart: String,
}

/// Opens the shop in a namespace that is not in the mesh.
pub fn open(ground: &Ground, screen: Screen) -> Result<(), Error> {
    screen.title("Open a shop of three services; cart runs on another node than web and stock");
    // A run before this one may have left its shop and policies, and its traffic.
    ground.ask(&[
        "delete",
        "namespace",
        SHOP,
        OUTSIDE,
        TRAFFIC,
        "--ignore-not-found",
        "--timeout=90s",
    ])?;
    ground.apply(&objects::namespace(SHOP).to_string())?;
    ground.apply(&objects::shop(&ground.references.shop).to_string())?;
    ground.apply(&objects::outsider(&ground.references.shop).to_string())?;
    for (namespace, name) in [
        (SHOP, "web"),
        (SHOP, "cart"),
        (SHOP, "stock"),
        (OUTSIDE, "caller"),
    ] {
        ground.ask(&[
            "-n",
            namespace,
            "rollout",
            "status",
            &format!("deployment/{name}"),
            "--timeout=90s",
        ])?;
    }
    Ok(())
}

/// Enrols the namespace of the running shop: its pods are captured where they run.
pub fn enrol(ground: &Ground, screen: Screen) -> Result<(), Error> {
    screen.title("One label takes the running shop into the mesh; nothing restarts");
    let started = Instant::now();
    let label = [
        "label",
        "namespace",
        SHOP,
        "istio.io/dataplane-mode=ambient",
        "--overwrite",
    ];
    screen.shell(
        "kubectl label namespace demo istio.io/dataplane-mode=ambient",
        &ground.ask(&label)?,
    );
    let columns = "custom-columns=POD:.metadata.name,NODE:.spec.nodeName,RESTARTS:.status.containerStatuses[0].restartCount,\
                   CAPTURED:.metadata.annotations.ambient\\.istio\\.io/redirection";
    let arguments = ["-n", SHOP, "get", "pods", "-o", columns];
    let pods = eventually("every pod of the shop to be captured", || {
        let pods = ground.ask(&arguments)?;
        Ok((
            pods.matches("enabled").count() >= 3 && !pods.contains("<none>"),
            pods,
        ))
    })?;
    screen.shell(&format!("kubectl -n demo get pods -o {columns}"), &pods);
    screen.note(&format!(
        "captured {:.1} s after the label",
        started.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// Requests through the whole chain: every hop crosses the nodes.
pub fn requests(ground: &Ground, screen: Screen) -> Result<Witness, Error> {
    screen.title("Requests cross the nodes");
    let said = eventually("an answer through the whole shop", || {
        let said = call(ground, SHOP, "web", "http://web:8080/buy", 3);
        Ok((
            said.lines().filter(|line| line.starts_with("200 ")).count() == 3,
            said,
        ))
    })?;
    screen.shell(
        "kubectl -n demo exec deploy/web -- shop get http://web:8080/buy 3",
        &said,
    );
    let hops: Vec<&str> = said
        .lines()
        .next()
        .unwrap_or_default()
        .split(" -> ")
        .collect();
    let nodes: Vec<&str> = hops
        .iter()
        .filter_map(|hop| hop.split(" on ").nth(1)?.split(' ').next())
        .collect();
    match nodes.as_slice() {
        [web, cart, stock] if web != cart && cart != stock => {}
        _ => {
            return Err(Error::Claim {
                claim: "that every hop crosses the nodes",
                seen: said,
            });
        }
    }
    let cart = ground.ask(&[
        "-n",
        SHOP,
        "get",
        "pods",
        "-l",
        "app=cart",
        "-o",
        "jsonpath={.items[0].status.podIP}",
    ])?;
    Ok(Witness { cart })
}

/// Both proxies' access logs name both ends.
pub fn identities(ground: &Ground, screen: Screen, witness: &Witness) -> Result<(), Error> {
    screen.title("Both proxies saw both identities, although nobody configured TLS");
    let wanted = [
        "spiffe://cluster.local/ns/demo/sa/web",
        "spiffe://cluster.local/ns/demo/sa/cart",
    ];
    let logs = eventually("the access logs of the request from web to cart", || {
        let logs = ground.ask(&[
            "-n",
            "applink-system",
            "logs",
            "-l",
            "app=ztunnel",
            "--tail=-1",
            "--prefix",
        ])?;
        let lines: Vec<&str> = logs
            .lines()
            .filter(|line| {
                wanted.iter().all(|identity| line.contains(identity))
                    && line.contains(&witness.cart)
            })
            .collect();
        let both = ["inbound", "outbound"].map(|direction| {
            lines
                .iter()
                .rev()
                .find(|line| line.contains(direction))
                .copied()
        });
        Ok(match both {
            [Some(inbound), Some(outbound)] => (true, format!("{outbound}\n\n{inbound}")),
            _ => (false, lines.join("\n")),
        })
    })?;
    screen.shell(
        r"kubectl -n applink-system logs -l app=ztunnel | grep sa/cart | grep -oE '(direction|dst.hbone_addr|(src|dst).(workload|identity))=[^ ]*'",
        &chosen(&logs),
    );
    Ok(())
}

/// The fields of access log lines that the demo is about, one a line.
fn chosen(lines: &str) -> String {
    const FIELDS: [&str; 6] = [
        "src.workload=",
        "src.identity=",
        "dst.hbone_addr=",
        "dst.workload=",
        "dst.identity=",
        "direction=",
    ];
    let of_line = |line: &str| {
        let words = line.split_whitespace();
        let chosen = words.filter(|word| FIELDS.iter().any(|field| word.starts_with(field)));
        chosen.collect::<Vec<_>>().join("\n")
    };
    lines.lines().map(of_line).collect::<Vec<_>>().join("\n")
}

/// A policy that lets one caller in keeps the other out.
pub fn denied(ground: &Ground, screen: Screen) -> Result<(), Error> {
    screen.title("An AuthorizationPolicy denies one caller: only cart may ask stock");
    screen.shell("kubectl apply -f -", &objects::yaml(&objects::only_cart()));
    ground.apply(&objects::only_cart().to_string())?;
    let said = eventually("web to be kept from stock", || {
        let said = call(ground, SHOP, "web", "http://stock:8080/take", 1);
        Ok((said.starts_with("no answer"), said))
    })?;
    screen.shell(
        "kubectl -n demo exec deploy/web -- shop get http://stock:8080/take",
        &said,
    );
    let said = call(ground, SHOP, "cart", "http://stock:8080/take", 1);
    screen.shell(
        "kubectl -n demo exec deploy/cart -- shop get http://stock:8080/take",
        &said,
    );
    claim(
        "that cart may still ask stock",
        said.starts_with("200 "),
        &said,
    )
}

/// Plain text from outside the mesh is served, until a policy refuses it.
pub fn strict(ground: &Ground, screen: Screen) -> Result<(), Error> {
    screen.title("A PeerAuthentication refuses plain text from outside the mesh");
    let url = format!("http://web.{SHOP}:{PORT}/healthz");
    let shown = format!("kubectl -n {OUTSIDE} exec deploy/caller -- shop get {url}");
    let said = call(ground, OUTSIDE, "caller", &url, 1);
    screen.shell(&shown, &said);
    claim(
        "that plain text is served before the policy",
        said.starts_with("200 "),
        &said,
    )?;
    screen.shell("kubectl apply -f -", &objects::yaml(&objects::strict()));
    ground.apply(&objects::strict().to_string())?;
    let said = eventually("plain text to be refused", || {
        let said = call(ground, OUTSIDE, "caller", &url, 1);
        Ok((said.starts_with("no answer"), said))
    })?;
    screen.shell(&shown, &said);
    let said = call(ground, SHOP, "web", "http://web:8080/buy", 1);
    screen.shell(
        "kubectl -n demo exec deploy/web -- shop get http://web:8080/buy",
        &said,
    );
    claim(
        "that the shop itself goes on under the policy",
        said.starts_with("200 "),
        &said,
    )
}

/// What a pod of the shop gets when it asks; a refusal is an answer here, not an error.
pub fn call(ground: &Ground, namespace: &str, from: &str, url: &str, times: u32) -> String {
    let (deployment, times) = (format!("deployment/{from}"), times.to_string());
    let mut exec = ground.kubectl(&[
        "-n",
        namespace,
        "exec",
        &deployment,
        "--",
        "/usr/local/bin/shop",
        "get",
        url,
        &times,
    ]);
    match exec.stdin(std::process::Stdio::null()).output() {
        Ok(output) if output.stdout.is_empty() => {
            String::from_utf8_lossy(&output.stderr).into_owned()
        }
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(error) => error.to_string(),
    }
}

/// Asks until the answer is as wanted; the answer then.
pub fn eventually(
    what: &str,
    mut ask: impl FnMut() -> Result<(bool, String), Error>,
) -> Result<String, Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (done, seen) = match ask() {
            Ok(answer) => answer,
            // Pods come and go while things settle; only the last failure counts.
            Err(Error::Command(error)) => (false, command::chain(&error)),
            Err(error) => return Err(error),
        };
        if done {
            return Ok(seen);
        }
        if Instant::now() >= deadline {
            return Err(Error::Late {
                what: what.to_owned(),
                seconds: PATIENCE.as_secs(),
                seen,
            });
        }
        std::thread::sleep(PERIOD);
    }
}

/// The names of all nodes.
pub fn nodes(ground: &Ground) -> Result<Vec<String>, Error> {
    let list: Value =
        serde_json::from_str(&ground.ask(&["get", "nodes", "-o", "json"])?).unwrap_or_default();
    let items = list["items"].as_array().cloned().unwrap_or_default();
    Ok(items
        .iter()
        .filter_map(|node| node["metadata"]["name"].as_str().map(str::to_owned))
        .collect())
}
