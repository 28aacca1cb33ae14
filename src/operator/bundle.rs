//! The definitions that come with the program.

use futures::stream::{self, StreamExt, TryStreamExt};
use tracing::info;

use super::apply;
use super::error::Error;
use super::pass::Operator;
use crate::desired::crds;
use crate::plan::Bundle;

/// Definitions that are applied at once. Each is up to megabytes in memory, and with four a busy API server was seen to take
/// longer than a request may for a single one.
const AT_ONCE: usize = 2;

impl Operator {
    /// Reads the folder of definitions once, without their schemas.
    pub(super) async fn definitions(&mut self) -> Result<(), Error> {
        if self.bundle.is_some() {
            return Ok(());
        }
        self.worked = true;
        let folder = self.crds.clone();
        let read = tokio::task::spawn_blocking(move || crds::entries(&folder)).await;
        match read {
            Ok(entries) => {
                self.bundle = Some(Bundle::of(entries?));
                Ok(())
            }
            Err(_) => Err(Error::Timeout {
                what: "reading",
                object: "the definitions".to_owned(),
                seconds: 0,
            }),
        }
    }

    /// Applies definitions. The folder is read again: their schemas are megabytes, and are not kept.
    pub(super) async fn define(&mut self, wanted: &[String]) -> Result<(), Error> {
        self.worked = true;
        let folder = self.crds.clone();
        let names: Vec<String> = wanted.to_vec();
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let reader = tokio::task::spawn_blocking(move || {
            for document in crds::documents(&folder, &names)? {
                if sender.blocking_send(document?).is_err() {
                    break;
                }
            }
            Ok::<_, crds::Error>(())
        });
        let (client, metrics) = (&self.client, &self.metrics);
        let documents = stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|document| (document, receiver))
        });
        let applied: Vec<(String, Option<i64>)> = documents
            .map(|document| async move {
                metrics.act("define");
                let generation = apply::definition(client, &document).await?;
                info!(definition = document.name, "applied");
                Ok::<_, Error>((document.name, generation))
            })
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        for (name, generation) in applied {
            if let Some(entry) = self
                .bundle
                .iter_mut()
                .flat_map(|bundle| &mut bundle.entries)
                .find(|entry| entry.bundled.manifest.name == name)
            {
                entry.generation = generation;
            }
        }
        if let Ok(read) = reader.await {
            read?;
        }
        Ok(())
    }
}
