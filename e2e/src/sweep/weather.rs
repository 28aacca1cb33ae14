//! What goes wrong at random moments: the operator dies, the API server is started again, a node is.

use std::time::{Duration, Instant};

use super::Error;
use crate::cluster::{Cluster, Options};
use crate::node::Node;
use crate::progress::Progress;
use crate::trace::Trace;

/// Milliseconds between two events: at least, and how many more at most.
const BETWEEN: (u64, u64) = (200, 3_800);
/// One in so many events is a start of the API server, one in so many of a node. A node takes a minute to come back on a
/// busy machine: with more of them one of two is always away, and half of what asks for a name gets no answer.
const API_SERVER: u64 = 25;
const NODE: u64 = 120;

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The operator dies.
    Death,
    /// The API server is away for a moment.
    ApiServer,
    /// A node is.
    Node,
}

/// Events that have happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Deaths of the operator.
    pub deaths: usize,
    /// Starts of the API server.
    pub api_servers: usize,
    /// Starts of nodes.
    pub nodes: usize,
}

/// Random events, the same ones for a seed.
#[derive(Debug)]
pub struct Weather {
    cluster: Options,
    state: u64,
    next: Instant,
    most: usize,
    counts: Counts,
}

impl Weather {
    /// As many deaths on that cluster, and some other events between them.
    pub fn new(cluster: &Options, seed: u64, deaths: usize) -> Self {
        let mut weather = Self {
            cluster: cluster.clone(),
            state: seed,
            next: Instant::now(),
            most: deaths,
            counts: Counts::default(),
        };
        let pause = weather.pause();
        weather.next += pause;
        weather
    }

    /// What has happened.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The next number of the sequence: `SplitMix64`.
    fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.state;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }

    fn pause(&mut self) -> Duration {
        Duration::from_millis(BETWEEN.0 + self.draw() % BETWEEN.1)
    }

    /// What happens now, if it is time.
    pub(super) fn event(&mut self, now: Instant) -> Option<Event> {
        if now < self.next || self.counts.deaths >= self.most {
            return None;
        }
        self.next = now + self.pause();
        let drawn = self.draw();
        Some(if drawn.is_multiple_of(NODE) {
            Event::Node
        } else if drawn.is_multiple_of(API_SERVER) {
            Event::ApiServer
        } else {
            self.counts.deaths += 1;
            Event::Death
        })
    }

    /// Stops the API server like a power cut, and starts it again.
    pub(super) async fn restart_api_server(&mut self) -> Result<(), Error> {
        let mut cluster = Cluster::open(&self.cluster, Progress::silent())?;
        cluster.halt_api_server()?;
        cluster.start_api_server().await?;
        self.counts.api_servers += 1;
        Ok(())
    }

    /// Stops a node, in order or like a power cut, and starts it again with the disk it had. It is not judged any longer.
    pub(super) async fn restart_node(&mut self, trace: Option<&Trace>) -> Result<(), Error> {
        let mut cluster = Cluster::open(&self.cluster, Progress::silent())?;
        let names: Vec<String> = cluster.state().nodes.iter().map(Node::name).collect();
        let drawn = self.draw();
        let at = usize::try_from(drawn).unwrap_or_default() % names.len().max(1);
        let Some(name) = names.get(at) else {
            return Ok(());
        };
        if let Some(trace) = trace {
            trace.excuse(name);
        }
        cluster.halt_node(name, drawn.is_multiple_of(2))?;
        cluster.start_node(name).await?;
        self.counts.nodes += 1;
        self.next = Instant::now() + self.pause();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_brings_the_same_events_and_not_more_deaths_than_asked_for() {
        let events = |seed| {
            let mut weather = Weather::new(&Options::new("none"), seed, 600);
            let far = Instant::now() + Duration::from_hours(10);
            let mut now = far;
            let mut events = Vec::new();
            for _ in 0..1000 {
                now += Duration::from_secs(10);
                events.extend(weather.event(now));
            }
            events
        };
        assert_eq!(events(7), events(7));
        assert_ne!(events(7), events(8));
        let deaths = (events(7).into_iter()).filter(|event| *event == Event::Death);
        assert_eq!(deaths.count(), 600);
        assert!(events(7).contains(&Event::ApiServer) && events(7).contains(&Event::Node));
    }
}
