//! Pings: how an end of a tunnel learns that the other one is gone without a word.

use std::future::Future;
use std::pin::Pin;

use h2::{Ping, PingPong};
use tokio::time::{sleep, timeout};

use super::Settings;

/// Resolves when the peer no longer answers.
pub(super) type Lost = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Pings a peer as long as it answers. Must be polled together with the connection it belongs to.
pub(super) fn lost(pings: Option<PingPong>, settings: &Settings) -> Lost {
    let (interval, limit) = (settings.ping_interval, settings.ping_timeout);
    Box::pin(async move {
        let Some(mut pings) = pings else {
            return std::future::pending().await;
        };
        loop {
            sleep(interval).await;
            match timeout(limit, pings.ping(Ping::opaque())).await {
                Ok(Ok(_)) => {}
                // The connection itself is over and says so in its own words.
                Ok(Err(_)) => return std::future::pending().await,
                Err(_) => return,
            }
        }
    })
}
