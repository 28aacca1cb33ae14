//! The second act: a release arrives and nobody notices; a bad one arrives and is taken back.

use std::time::{Duration, Instant};

use applink::api::v1alpha1::MeshMember;
use kube::api::Api;
use serde_json::Value;

use crate::ground::Ground;
use crate::mesh::{condition, is_ready, progress, text};
use crate::objects::{self, MEMBER, TRAFFIC};
use crate::screen::Screen;
use crate::telling::Telling;
use crate::traffic::Traffic;
use crate::{Error, claim, releases};

/// How long a move, or the way back, may take on a busy machine.
const MOVE: Duration = Duration::from_mins(5);
/// How often a state is asked for while waiting.
const PERIOD: Duration = Duration::from_millis(300);

/// Shows it, on the mesh of the first act.
pub fn show(ground: &Ground, screen: Screen) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(act(ground, screen))
}

async fn act(ground: &Ground, screen: Screen) -> Result<(), Error> {
    let client = ground.client().await?;
    let shown = Shown {
        ground,
        screen,
        members: Api::all(client.clone()),
    };
    screen.act("Act 2 of 2: upgrades that nobody has to watch");
    let [good, bad] = releases::next(ground)?;
    let current = shown.follow_a_channel().await?;
    let traffic = Traffic::start(ground, &client, screen).await?;
    shown.good(&traffic, &current, &good).await?;
    shown.bad(&traffic, &good, &bad).await?;
    shown.withdraw(&good, &bad).await?;
    screen.title("Where the mesh has been, the latest first; the traffic ends");
    let history = e2e::command::output(&mut ground.applink(&["history"]))?;
    screen.shell("applink history", &history);
    // Its pods end while the person in front of it reads on.
    ground.ask(&["delete", "namespace", TRAFFIC, "--wait=false"])?;
    Ok(())
}

struct Shown<'a> {
    ground: &'a Ground,
    screen: Screen,
    members: Api<MeshMember>,
}

impl Shown<'_> {
    /// The member's mode changes where it stands; what runs then.
    async fn follow_a_channel(&self) -> Result<String, Error> {
        let (screen, member) = (self.screen, objects::follower());
        screen.title("The member follows a channel from now on, in place of a pin");
        screen.shell("kubectl apply -f -", &objects::yaml(&member));
        self.ground.apply(&member.to_string())?;
        let before = self.proxies()?;
        let seen = self
            .until("the member to follow its channel", false, is_ready)
            .await?;
        let current = text(&seen["status"]["version"]["current"]).to_owned();
        screen.note(&format!(
            "channel Rapid means {current}, which runs already: nothing moves"
        ));
        claim(
            "that a change of the mode moves nothing",
            before == self.proxies()?,
            "other proxies than before",
        )?;
        Ok(current)
    }

    async fn good(&self, traffic: &Traffic, current: &str, good: &str) -> Result<(), Error> {
        let screen = self.screen;
        let release = objects::next_release(&self.ground.references, good);
        self.ground.name_images(good)?;
        screen.title(&format!(
            "The channel moves: one MeshRelease says that Rapid lists {good}"
        ));
        screen.note("there is one Istio on this machine: the release has the same programs, in images of its own by name");
        screen.shell("kubectl apply -f -", &objects::yaml(&release));
        let happens = async {
            let started = Instant::now();
            self.ground.apply(&release.to_string())?;
            let runs =
                |member: &Value| is_ready(member) && member["status"]["version"]["current"] == good;
            let ends = |member: &Value| runs(member) || failure(member, good).is_some();
            let seen = self
                .until("the move to the new release", true, ends)
                .await?;
            let failed = failure(&seen, good).unwrap_or_default();
            claim("that a good release arrives", failed.is_empty(), &failed)?;
            screen.note(&format!(
                "{good} runs on every node, {:.1} s after the apply; {current} is gone",
                started.elapsed().as_secs_f64()
            ));
            Ok(())
        };
        let ((), noticed) = traffic.notices(happens).await?;
        noticed.show(screen)?;
        let touched = noticed.touched();
        let all = crate::shop::nodes(self.ground)?;
        claim("that every node moved", touched == all, &touched.join(", "))
    }

    async fn bad(&self, traffic: &Traffic, good: &str, bad: &str) -> Result<(), Error> {
        let screen = self.screen;
        let release = objects::bad_release(&self.ground.references, bad);
        self.ground.name_images(bad)?;
        screen.title(&format!(
            "A bad release arrives: the node proxy of {bad} starts and never gets ready"
        ));
        screen.shell("kubectl apply -f -", &objects::yaml(&release));
        let happens = async {
            let started = Instant::now();
            self.ground.apply(&release.to_string())?;
            let member = (self.until("the bad release to be taken back", true, |member| {
                failure(member, bad).is_some() && !member["status"]["rollout"].is_object()
            }))
            .await?;
            let seconds = started.elapsed().as_secs_f64();
            Ok((failure(&member, bad).unwrap_or_default(), seconds))
        };
        let ((reason, seconds), noticed) = traffic.notices(happens).await?;
        let touched = noticed.touched();
        screen.note(&format!(
            "{bad} is taken back and {good} runs everywhere again, {seconds:.1} s after the apply"
        ));
        screen.figure("why", &reason);
        screen.figure(
            "nodes touched",
            &format!("{}: the canary", touched.join(", ")),
        );
        claim(
            "that a bad release gets no further than the canary",
            touched.len() == 1,
            &touched.join(", "),
        )?;
        noticed.show(screen)
    }

    /// The bad release is withdrawn: nobody takes it any more, and nothing is left to do.
    async fn withdraw(&self, good: &str, bad: &str) -> Result<(), Error> {
        let screen = self.screen;
        screen.title(&format!(
            "{bad} is not tried again by itself; who made it withdraws it"
        ));
        screen.shell(
            &releases::withdrawal(bad),
            &releases::withdraw(self.ground, bad)?,
        );
        self.until("the member to be up to date", false, |member| {
            is_ready(member) && member["status"]["version"]["current"] == good
        })
        .await?;
        screen.note(&format!(
            "the member is up to date: Rapid means {good} again"
        ));
        Ok(())
    }

    /// Waits until the member is as wanted, and prints each new step on the way; the member then.
    async fn until(
        &self,
        what: &str,
        is_told: bool,
        holds: impl Fn(&Value) -> bool,
    ) -> Result<Value, Error> {
        let started = Instant::now();
        let mut telling = Telling::default();
        loop {
            let member = self.members.get(MEMBER).await.map_err(Box::new)?;
            let member = serde_json::to_value(member).unwrap_or_default();
            if is_told {
                for line in telling.lines(&member) {
                    self.screen.note(&line);
                }
            }
            if holds(&member) {
                return Ok(member);
            }
            if started.elapsed() >= MOVE {
                return Err(Error::Late {
                    what: what.to_owned(),
                    seconds: MOVE.as_secs(),
                    seen: progress(&member),
                });
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    /// The proxies that run, by uid.
    fn proxies(&self) -> Result<String, Error> {
        let uids = "jsonpath={.items[*].metadata.uid}";
        self.ground.ask(&[
            "-n",
            "applink-system",
            "get",
            "pods",
            "-l",
            "app=ztunnel",
            "-o",
            uids,
        ])
    }
}

/// Why a release failed here, once the member says so and what ran before is what it stays with.
fn failure(member: &Value, version: &str) -> Option<String> {
    let told = condition(member, "UpToDate")?["reason"] == "ReleaseFailed";
    let failed = member["status"]["failedReleases"].as_array()?;
    let failed = failed.iter().find(|failed| failed["version"] == version)?;
    told.then(|| text(&failed["reason"]).to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_release_has_failed_when_the_member_says_so() {
        let mut member = json!({"status": {
            "conditions": [{"type": "UpToDate", "status": "False", "reason": "RollingOut"}],
            "failedReleases": [{"version": "1.6.2", "reason": "gate Proxy"}],
        }});
        assert_eq!(failure(&member, "1.6.2"), None);
        member["status"]["conditions"][0]["reason"] = json!("ReleaseFailed");
        assert_eq!(failure(&member, "1.6.2").as_deref(), Some("gate Proxy"));
        assert_eq!(failure(&member, "1.6.3"), None);
    }
}
