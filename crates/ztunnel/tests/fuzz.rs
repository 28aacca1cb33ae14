//! The fuzz targets, compiled as they are and given their seeds and some random inputs: what they call, and what they
//! claim, holds in every run of the tests. `make fuzz` searches on.
//!
//! `libfuzzer-sys` is replaced by this crate: its macro makes a test of each target.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    unused_attributes,
    reason = "a failed test is the report, and each target is a program of its own, without a main"
)]

extern crate self as libfuzzer_sys;

use std::path::{Path, PathBuf};

use proptest::arbitrary::{Arbitrary, any};
use proptest::test_runner::{Config, TestRunner};

#[path = "../fuzz/fuzz_targets/baggage.rs"]
mod baggage;
#[path = "../fuzz/fuzz_targets/certificates.rs"]
mod certificates;
#[path = "../fuzz/fuzz_targets/chain.rs"]
mod chain;
#[path = "../fuzz/fuzz_targets/config.rs"]
mod config;
#[path = "../fuzz/fuzz_targets/dns_packet.rs"]
mod dns_packet;
#[path = "../fuzz/fuzz_targets/headers.rs"]
mod headers;
#[path = "../fuzz/fuzz_targets/identity.rs"]
mod identity;
#[path = "../fuzz/fuzz_targets/messages.rs"]
mod messages;
#[path = "../fuzz/fuzz_targets/resources.rs"]
mod resources;

// Below the targets, so that they find it by the path they name.
macro_rules! fuzz_target {
    (|$input:ident: &[u8]| $body:block) => {
        #[test]
        fn holds_for_its_seeds_and_random_inputs() {
            let seeds = crate::seeds(module_path!());
            crate::run(seeds, |$input: &Vec<u8>| {
                let $input = $input.as_slice();
                $body
            });
        }
    };
    (|$input:ident: &str| $body:block) => {
        #[test]
        fn holds_for_its_seeds_and_random_inputs() {
            let seeds = crate::seeds(module_path!()).into_iter();
            let seeds = seeds.map(|seed| String::from_utf8(seed).unwrap());
            crate::run(seeds, |$input: &String| {
                let $input = $input.as_str();
                $body
            });
        }
    };
    (|$input:ident: $kind:ty| $body:block) => {
        #[test]
        fn holds_for_its_seeds_and_random_inputs() {
            // How libFuzzer makes such a value of bytes is its own affair, so there are no seeds.
            assert_eq!(crate::seeds(module_path!()), Vec::<Vec<u8>>::new());
            crate::run(Vec::new(), |$input: &$kind| {
                let $input = $input.clone();
                $body
            });
        }
    };
}
pub(crate) use fuzz_target;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz")
        .join(name)
}

/// What a target starts from, by the path of its module.
fn seeds(module: &str) -> Vec<Vec<u8>> {
    let (_, target) = module.rsplit_once(':').unwrap();
    let Ok(files) = std::fs::read_dir(folder("seeds").join(target)) else {
        return Vec::new();
    };
    files
        .map(|file| std::fs::read(file.unwrap().path()).unwrap())
        .collect()
}

/// Calls a target for each seed, and for random inputs; the smallest that breaks it is told.
fn run<T: Arbitrary>(seeds: impl IntoIterator<Item = T>, target: impl Fn(&T)) {
    for seed in seeds {
        target(&seed);
    }
    let config = Config {
        cases: 128,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&any::<T>(), |input| {
            target(&input);
            Ok(())
        })
        .unwrap();
}

#[test]
fn every_target_is_here_and_in_the_manifest_of_the_fuzzer() {
    let tests = include_str!("fuzz.rs");
    let manifest = std::fs::read_to_string(folder("Cargo.toml")).unwrap();
    let mut count = 0;
    for file in std::fs::read_dir(folder("fuzz_targets")).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let path = format!("fuzz_targets/{name}\"");
        assert!(tests.contains(&format!("/{path}]")), "{name} is not here");
        assert!(manifest.contains(&path), "{name} is not in Cargo.toml");
        count += 1;
    }
    assert_eq!(manifest.matches("[[bin]]").count(), count);
    for seeds in std::fs::read_dir(folder("seeds")).unwrap() {
        let name = seeds.unwrap().file_name().into_string().unwrap();
        assert!(
            tests.contains(&format!("/{name}.rs\"]")),
            "{name} has seeds and no target"
        );
    }
}
