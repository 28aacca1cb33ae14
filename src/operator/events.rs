//! Events: what is said for the first time is a new one, what is said again within minutes is counted up.
//!
//! kube's own recorder counts up whatever has the same reason, and keeps the first words: a second fault under the same
//! reason would be told with the words of the first.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

/// Who speaks, as Events name it.
const CONTROLLER: &str = "applink.dev/operator";
/// Events about cluster-scoped objects are kept here.
const NAMESPACE: &str = "default";
/// How long the same words are counted up. Source: client-go `tools/events`, `finishTime`.
const SERIES: SignedDuration = SignedDuration::from_mins(6);
/// The longest note the API takes, in bytes. Source: kubernetes `pkg/apis/core/validation/events.go`.
const NOTE: usize = 1024;

/// What is said of whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Words {
    /// It is bad news.
    pub is_warning: bool,
    /// The reason of the condition it is about.
    pub reason: String,
    /// The message; what is longer than an Event may hold is cut off.
    pub note: String,
}

/// What was said, and when last.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    event: String,
    count: i32,
    at: Timestamp,
}

/// What is to be written.
#[derive(Clone, Debug, PartialEq)]
enum Write {
    /// A new Event.
    Create(Box<Event>),
    /// The series of an Event that was written before.
    CountUp { event: String, series: EventSeries },
}

/// Writes Events, and knows what it has said.
pub struct Events {
    client: Client,
    memory: Memory,
}

impl Events {
    /// One that has said nothing yet; `instance` is this process among several.
    pub fn new(client: Client, instance: String) -> Self {
        Self {
            client,
            memory: Memory {
                instance,
                said: HashMap::new(),
            },
        }
    }

    /// Says something of an object.
    ///
    /// # Errors
    /// The API server's, as it is: an Event is never tried again.
    pub async fn say(
        &mut self,
        about: &ObjectReference,
        words: Words,
        now: Timestamp,
    ) -> Result<(), kube::Error> {
        let events: Api<Event> = Api::namespaced(
            self.client.clone(),
            about.namespace.as_deref().unwrap_or(NAMESPACE),
        );
        match self.memory.next(about, words, now) {
            Write::Create(event) => {
                events.create(&PostParams::default(), &event).await?;
            }
            Write::CountUp { event, series } => {
                let patch = Patch::Merge(json!({"series": series}));
                events
                    .patch(&event, &PatchParams::default(), &patch)
                    .await?;
            }
        }
        Ok(())
    }
}

/// What was said in the last minutes.
struct Memory {
    instance: String,
    said: HashMap<(Option<String>, Words), Said>,
}

impl Memory {
    fn next(&mut self, about: &ObjectReference, mut words: Words, now: Timestamp) -> Write {
        let end = (0..=NOTE.min(words.note.len()))
            .rev()
            .find(|end| words.note.is_char_boundary(*end))
            .unwrap_or(0);
        words.note.truncate(end);
        self.said
            .retain(|_, said| now.duration_since(said.at) < SERIES);
        let key = (about.uid.clone(), words);
        if let Some(said) = self.said.get_mut(&key) {
            said.count = said.count.saturating_add(1);
            said.at = now;
            return Write::CountUp {
                event: said.event.clone(),
                series: EventSeries {
                    count: said.count,
                    last_observed_time: MicroTime(now),
                },
            };
        }
        let event = self.event(about, &key.1, now);
        let said = Said {
            event: event.metadata.name.clone().unwrap_or_default(),
            count: 1,
            at: now,
        };
        self.said.insert(key, said);
        Write::Create(Box::new(event))
    }

    fn event(&self, about: &ObjectReference, words: &Words, now: Timestamp) -> Event {
        let name = about.name.as_deref().unwrap_or(NAMESPACE);
        // Several may be written within one moment of the clock that a pass goes by.
        let number = self.said.len();
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{name}.{:x}.{number}", now.as_nanosecond())),
                namespace: about.namespace.clone(),
                ..ObjectMeta::default()
            },
            action: Some("Reconcile".to_owned()),
            reason: Some(words.reason.clone()),
            note: Some(words.note.clone()),
            type_: Some(
                if words.is_warning {
                    "Warning"
                } else {
                    "Normal"
                }
                .to_owned(),
            ),
            regarding: Some(about.clone()),
            event_time: Some(MicroTime(now)),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            ..Event::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Memory {
        Memory {
            instance: "one".to_owned(),
            said: HashMap::new(),
        }
    }

    fn about(uid: &str) -> ObjectReference {
        ObjectReference {
            name: Some("here".to_owned()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        }
    }

    fn words(note: &str) -> Words {
        Words {
            is_warning: true,
            reason: "PreflightFailed".to_owned(),
            note: note.to_owned(),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn note(write: &Write) -> Option<&str> {
        match write {
            Write::Create(event) => event.note.as_deref(),
            Write::CountUp { .. } => None,
        }
    }

    #[test]
    fn other_words_under_the_same_reason_are_another_event() {
        let mut memory = memory();
        let mut names = std::collections::BTreeSet::new();
        for (about, text) in [
            (about("a"), "a proxy of somebody else"),
            (about("a"), "no Linux node"),
            (about("b"), "no Linux node"),
        ] {
            let write = memory.next(&about, words(text), at(0));
            assert_eq!(note(&write), Some(text));
            if let Write::Create(event) = write {
                names.insert(event.metadata.name.unwrap());
            }
        }
        assert_eq!(names.len(), 3, "{names:?}");
    }

    #[test]
    fn the_same_words_are_counted_up_for_some_minutes() {
        let mut memory = memory();
        let Write::Create(first) = memory.next(&about("a"), words("no Linux node"), at(0)) else {
            panic!("the first is new");
        };
        for (second, count) in [(10, 2), (300, 3)] {
            let again = memory.next(&about("a"), words("no Linux node"), at(second));
            let expected = Write::CountUp {
                event: first.metadata.name.clone().unwrap(),
                series: EventSeries {
                    count,
                    last_observed_time: MicroTime(at(second)),
                },
            };
            assert_eq!(again, expected);
        }
        let later = memory.next(&about("a"), words("no Linux node"), at(1000));
        assert!(note(&later).is_some(), "{later:?}");
    }

    #[test]
    fn a_long_note_is_cut_between_characters() {
        let long = "ä".repeat(600);
        let write = memory().next(&about("a"), words(&format!("x{long}")), at(0));
        assert_eq!(note(&write).map(str::len), Some(1023));
    }
}
