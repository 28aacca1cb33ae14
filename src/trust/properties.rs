//! What holds for every Secret, however it was damaged.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jiff::Timestamp;
use proptest::prelude::*;

use super::{Authority, Intermediate};

type Data = BTreeMap<String, Vec<u8>>;

fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

/// A root and an intermediate, as their Secrets keep them.
static WHOLE: LazyLock<(Data, Data)> = LazyLock::new(|| {
    let root = Authority::mint("campus", now()).unwrap();
    let member = Intermediate::mint("edge", &root, now()).unwrap();
    (root.secret_data(), member.secret_data())
});

/// One change to one value, at a place given as a share of its length.
#[derive(Clone, Debug)]
enum Damage {
    Flip(u8),
    Cut,
    Insert(Vec<u8>),
    Remove(usize),
    Replace(Vec<u8>),
}

fn damage() -> impl Strategy<Value = (prop::sample::Index, prop::sample::Index, Damage)> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..40);
    let kind = prop_oneof![
        any::<u8>().prop_map(Damage::Flip),
        Just(Damage::Cut),
        bytes().prop_map(Damage::Insert),
        (1usize..80).prop_map(Damage::Remove),
        bytes().prop_map(Damage::Replace),
    ];
    (
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
        kind,
    )
}

fn damaged(
    whole: &Data,
    (which, at, kind): &(prop::sample::Index, prop::sample::Index, Damage),
) -> Data {
    let mut data = whole.clone();
    let key = data.keys().nth(which.index(data.len())).unwrap().clone();
    let value = data.get_mut(&key).unwrap();
    let at = at.index(value.len());
    match kind {
        Damage::Flip(bits) => value[at] ^= bits,
        Damage::Cut => value.truncate(at),
        Damage::Insert(bytes) => {
            value.splice(at..at, bytes.iter().copied());
        }
        Damage::Remove(count) => {
            let end = (at + count).min(value.len());
            value.drain(at..end);
        }
        Damage::Replace(bytes) => value.clone_from(bytes),
    }
    data
}

proptest! {
    #[test]
    fn a_damaged_intermediate_is_the_same_or_refused_with_its_key_named(change in damage()) {
        let (_, whole) = &*WHOLE;
        let original = Intermediate::read(whole, now()).unwrap();
        match Intermediate::read(&damaged(whole, &change), now()) {
            // What nobody reads (text around the blocks, the chain behind its first certificate) may have changed.
            Ok(read) => prop_assert_eq!(read.certificate, original.certificate),
            Err(defect) => {
                let text = defect.to_string();
                prop_assert!(whole.keys().any(|key| text.contains(key.as_str())), "{}", text);
                prop_assert!(!text.contains("PRIVATE"), "{}", text);
            }
        }
    }

    #[test]
    fn a_damaged_root_is_refused_or_still_has_its_own_key(change in damage()) {
        let (whole, _) = &*WHOLE;
        match Authority::read(&damaged(whole, &change), now()) {
            Ok(read) => {
                // Whether it is the recorded one is decided elsewhere; one that is taken can sign.
                let member = Intermediate::mint("edge", &read, now());
                let is_same = read.certificate == Authority::read(whole, now()).unwrap().certificate;
                prop_assert!(member.is_ok() || !is_same);
            }
            Err(defect) => {
                let text = defect.to_string();
                prop_assert!(whole.keys().any(|key| text.contains(key.as_str())), "{}", text);
            }
        }
    }
}
