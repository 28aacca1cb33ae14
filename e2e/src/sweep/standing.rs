//! What stands after a phase, to be compared with what stood after the same phase without deaths.

use std::time::{Duration, Instant};

use super::Error;
use super::inventory::{self, Inventory};
use crate::stage::Stage;

/// How long what others do afterwards may take: leases are taken, pods end.
const LAST: Duration = Duration::from_secs(90);
/// Between two readings.
const BEAT: Duration = Duration::from_secs(1);

/// What is installed, with what it says, and everything by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    ours: Inventory,
    all: Inventory,
}

impl Standing {
    fn read(stage: &Stage, except: &[&str]) -> Result<Self, Error> {
        Ok(Self {
            ours: inventory::installed(stage)?,
            all: inventory::everything(stage, except)?,
        })
    }

    /// What stands once it is as `expected`, or, without that, once it does not change any more. After a minute and a half it
    /// is what stands then.
    ///
    /// # Errors
    /// When the cluster cannot be asked.
    pub async fn last(
        stage: &Stage,
        except: &[&str],
        expected: Option<&Self>,
    ) -> Result<Self, Error> {
        let deadline = Instant::now() + LAST;
        let mut before = None;
        loop {
            let found = Self::read(stage, except)?;
            let is_last = match expected {
                Some(expected) => found.differences(expected).is_empty(),
                None => before.as_ref() == Some(&found),
            };
            if is_last || Instant::now() >= deadline {
                return Ok(found);
            }
            before = Some(found);
            tokio::time::sleep(BEAT).await;
        }
    }

    /// What differs from what is expected, one line each.
    pub fn differences(&self, expected: &Self) -> Vec<String> {
        let mut lines = inventory::differences(&expected.ours, &self.ours);
        lines.extend(inventory::differences(&expected.all, &self.all));
        lines
    }
}
