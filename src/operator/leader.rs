//! One operator acts at a time: a Lease, claimed by a pure decision and a loop around it.
//!
//! Expiry is measured from when *we* last saw the record change, on our own monotonic clock, never by the other's wall
//! clock. A claim is a replace that carries the version that was read, so of two claimants one gets a conflict.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Client;
use kube::api::{Api, PostParams};
use tracing::{debug, info, warn};

use super::error::{is_conflict, is_gone};
use crate::names;

/// Name of the Lease.
pub const LEASE: &str = "applink-operator";
/// How long a claim holds.
const TTL: Duration = Duration::from_secs(15);
/// How often it is renewed.
const RENEW: Duration = Duration::from_secs(5);
/// How often a free Lease is looked for, and a failed request tried again.
const RETRY: Duration = Duration::from_secs(2);

/// What was seen of the Lease, and since when it has looked like this.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The Lease; none when there is none.
    pub lease: Option<Lease>,
    /// For how long it has not changed.
    pub unchanged: Duration,
}

/// What to do about it.
#[derive(Clone, Debug, PartialEq)]
pub enum Claim {
    /// Write this; then it is ours.
    Write(Box<Lease>),
    /// Somebody else holds it, at least for this long.
    Wait(Duration),
}

/// Whether to claim or renew the Lease.
pub fn claim(seen: &Seen, me: &str, ttl: Duration, now: Timestamp) -> Claim {
    let spec = seen.lease.as_ref().and_then(|lease| lease.spec.clone());
    let holder = spec
        .as_ref()
        .and_then(|spec| spec.holder_identity.as_deref())
        .filter(|holder| !holder.is_empty());
    if let Some(holder) = holder
        && holder != me
        && seen.unchanged < ttl
    {
        return Claim::Wait(ttl.saturating_sub(seen.unchanged));
    }
    let spec = spec.clone().unwrap_or_default();
    let keeps = holder == Some(me);
    let metadata = seen.lease.as_ref().map_or_else(
        || ObjectMeta {
            name: Some(LEASE.to_owned()),
            ..ObjectMeta::default()
        },
        |lease| lease.metadata.clone(),
    );
    Claim::Write(Box::new(Lease {
        metadata,
        spec: Some(LeaseSpec {
            holder_identity: Some(me.to_owned()),
            lease_duration_seconds: i32::try_from(ttl.as_secs()).ok(),
            acquire_time: if keeps {
                spec.acquire_time
            } else {
                Some(MicroTime(now))
            },
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(
                spec.lease_transitions.unwrap_or(0) + i32::from(!keeps && holder.is_some()),
            ),
            ..spec
        }),
    }))
}

/// Leadership that is held.
#[derive(Debug)]
pub struct Leader {
    api: Api<Lease>,
    me: String,
    lease: Lease,
    renewed: Instant,
}

/// Leadership was lost.
#[derive(Debug, thiserror::Error)]
#[error("leadership was lost: {reason}")]
pub struct Lost {
    reason: String,
}

impl Leader {
    /// Waits until the Lease is ours.
    pub async fn wait(client: &Client, me: &str) -> Self {
        let api: Api<Lease> = Api::namespaced(client.clone(), names::OPERATOR_NAMESPACE);
        let mut seen = Seen {
            lease: None,
            unchanged: Duration::ZERO,
        };
        let mut since = Instant::now();
        loop {
            match api.get_opt(LEASE).await {
                Ok(lease) => {
                    if version(lease.as_ref()) != version(seen.lease.as_ref()) {
                        since = Instant::now();
                    }
                    seen = Seen {
                        lease,
                        unchanged: since.elapsed(),
                    };
                    let begun = Instant::now();
                    match claim(&seen, me, TTL, Timestamp::now()) {
                        Claim::Write(lease) => match write(&api, *lease).await {
                            Ok(lease) => {
                                info!(identity = me, "leading");
                                return Self {
                                    api,
                                    me: me.to_owned(),
                                    lease,
                                    renewed: begun,
                                };
                            }
                            Err(error) if is_conflict(&error) => {
                                debug!("somebody else was quicker");
                            }
                            Err(error) => {
                                warn!(error = %super::chain(&error), "cannot claim the Lease");
                            }
                        },
                        Claim::Wait(_) => debug!("somebody else leads"),
                    }
                }
                Err(error) => {
                    warn!(error = %super::chain(&error), "cannot read the Lease");
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// For how long nobody else can have the Lease.
    fn left(&self) -> Duration {
        (self.renewed + TTL).saturating_duration_since(Instant::now())
    }

    /// Renews until leadership is lost: somebody else holds the Lease, or nothing could be renewed for its whole life.
    pub async fn keep(&mut self) -> Lost {
        let mut next = RENEW;
        loop {
            let left = self.left();
            // Even a sleep of nothing would give others a moment.
            if !left.is_zero() {
                tokio::time::sleep(next.min(left)).await;
            }
            // Whoever was held for that long, here or in a request, must end before it acts on what it knew.
            if self.left().is_zero() {
                return Lost {
                    reason: format!("the Lease could not be renewed for {} s", TTL.as_secs()),
                };
            }
            next = RENEW;
            let seen = Seen {
                lease: Some(self.lease.clone()),
                unchanged: Duration::ZERO,
            };
            let Claim::Write(lease) = claim(&seen, &self.me, TTL, Timestamp::now()) else {
                return Lost {
                    reason: "somebody else holds the Lease".to_owned(),
                };
            };
            // A successor counts from when it was written, which may be long before it is answered.
            let begun = Instant::now();
            let limit = (begun + RENEW).min(self.renewed + TTL);
            let request = tokio::time::timeout_at(limit.into(), write(&self.api, *lease)).await;
            match request {
                Ok(Ok(lease)) => {
                    self.lease = lease;
                    self.renewed = begun;
                    continue;
                }
                Ok(Err(error)) if is_conflict(&error) || is_gone(&error) => {
                    match tokio::time::timeout_at(limit.into(), self.api.get_opt(LEASE)).await {
                        Ok(Ok(Some(lease))) if holder(&lease) == Some(&self.me) => {
                            self.lease = lease;
                        }
                        Ok(Ok(Some(_))) => {
                            return Lost {
                                reason: "somebody else took the Lease".to_owned(),
                            };
                        }
                        Ok(Ok(None)) => self.lease = Lease::default(),
                        Ok(Err(_)) | Err(_) => {}
                    }
                }
                Ok(Err(error)) => {
                    warn!(error = %super::chain(&error), "cannot renew the Lease");
                }
                Err(_) => warn!("renewing the Lease takes too long"),
            }
            next = RETRY;
        }
    }

    /// Gives the Lease back, so that a successor starts at once.
    pub async fn release(mut self) {
        if let Some(spec) = &mut self.lease.spec {
            spec.holder_identity = None;
            spec.renew_time = Some(MicroTime(Timestamp::now()));
        }
        if let Err(error) = write(&self.api, self.lease).await {
            debug!(error = %super::chain(&error), "the Lease could not be given back");
        }
    }
}

fn holder(lease: &Lease) -> Option<&String> {
    lease.spec.as_ref()?.holder_identity.as_ref()
}

fn version(lease: Option<&Lease>) -> Option<&str> {
    lease?.metadata.resource_version.as_deref()
}

async fn write(api: &Api<Lease>, mut lease: Lease) -> Result<Lease, kube::Error> {
    lease.metadata.managed_fields = None;
    if lease.metadata.resource_version.is_some() {
        api.replace(LEASE, &PostParams::default(), &lease).await
    } else {
        lease.metadata.name = Some(LEASE.to_owned());
        api.create(&PostParams::default(), &lease).await
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use serde_json::json;

    use super::*;
    use crate::operator::apply::tests::server;

    const SECONDS: fn(u64) -> Duration = Duration::from_secs;

    fn lease(holder: &str) -> Lease {
        Lease {
            metadata: ObjectMeta {
                resource_version: Some("7".to_owned()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                lease_transitions: Some(3),
                ..LeaseSpec::default()
            }),
        }
    }

    fn decided(lease: Option<Lease>, unchanged: u64) -> Claim {
        let seen = Seen {
            lease,
            unchanged: SECONDS(unchanged),
        };
        claim(&seen, "me", SECONDS(15), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_lease_of_somebody_else_is_left_alone_until_it_has_not_changed_for_its_life() {
        assert_eq!(decided(Some(lease("you")), 0), Claim::Wait(SECONDS(15)));
        assert_eq!(decided(Some(lease("you")), 14), Claim::Wait(SECONDS(1)));
        let Claim::Write(written) = decided(Some(lease("you")), 15) else {
            panic!("not claimed")
        };
        let spec = written.spec.unwrap();
        assert_eq!(spec.holder_identity.as_deref(), Some("me"));
        assert_eq!(spec.lease_transitions, Some(4));
        assert_eq!(
            written.metadata.resource_version.as_deref(),
            Some("7"),
            "fenced"
        );
    }

    #[tokio::test]
    async fn who_was_held_for_the_life_of_its_lease_asks_nobody_and_ends_at_once() {
        let (client, asked) = server(|_, _| (200, json!({})));
        let mut held = Leader {
            api: Api::namespaced(client, names::OPERATOR_NAMESPACE),
            me: "me".to_owned(),
            lease: lease("me"),
            renewed: Instant::now().checked_sub(TTL).unwrap(),
        };
        // Nothing else gets a moment in between.
        let lost = held.keep().now_or_never().unwrap();
        assert!(lost.reason.contains("15 s"), "{lost}");
        assert_eq!(asked.lock().unwrap().len(), 0);
    }

    #[test]
    fn a_free_lease_is_taken_at_once_and_an_own_one_renewed_without_a_transition() {
        for (lease, transitions) in [(None, 0), (Some(lease("")), 3), (Some(lease("me")), 3)] {
            let Claim::Write(written) = decided(lease, 0) else {
                panic!("not claimed")
            };
            assert_eq!(written.spec.unwrap().lease_transitions, Some(transitions));
        }
    }
}
