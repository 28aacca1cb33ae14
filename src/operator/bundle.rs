//! The definitions that come with the program.

use super::error::Error;
use super::pass::Operator;
use crate::desired::crds;
use crate::plan::Bundle;

impl Operator {
    /// Reads the folder of definitions once, without their schemas.
    pub(super) async fn definitions(&mut self) -> Result<(), Error> {
        if self.bundle.is_some() {
            return Ok(());
        }
        let folder = self.crds.clone();
        let read = tokio::task::spawn_blocking(move || {
            let mut bundle = Bundle::default();
            for one in crds::bundled(&folder)? {
                bundle.push(one?);
            }
            Ok::<_, crds::Error>(bundle)
        })
        .await;
        match read {
            Ok(bundle) => {
                self.bundle = Some(bundle?);
                Ok(())
            }
            Err(_) => Err(Error::Timeout {
                what: "reading",
                object: "the definitions".to_owned(),
                seconds: 0,
            }),
        }
    }
}
