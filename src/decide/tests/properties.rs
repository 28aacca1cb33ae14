//! What holds for every spec, catalogue and cluster.

use proptest::prelude::*;

use super::*;
use crate::catalogue::Minor;

/// A member in a world.
#[derive(Clone, Debug)]
struct World {
    upgrade: Option<Upgrade>,
    running: Version,
    reached_by: Option<String>,
    objects: Vec<MeshRelease>,
    kubernetes: Minor,
    now: Timestamp,
}

impl World {
    fn decide(&self, catalogue: &Catalogue, history: &[HistoryEntry]) -> Decision {
        let calendar = Calendar::default();
        decide(&Situation {
            upgrade: self.upgrade.as_ref(),
            calendar: Ok(&calendar),
            running: Some(self.running),
            reached_by: self.reached_by.as_deref(),
            history,
            failed: &[],
            paused_by_annotation: false,
            template: Template::Same,
            catalogue,
            kubernetes: self.kubernetes,
            stage: Stage::Open,
            now: self.now,
        })
    }

    /// Carries out what is decided until nothing is due any more, and returns the versions passed.
    fn settle(&mut self, catalogue: &Catalogue) -> Result<Vec<Version>, TestCaseError> {
        let mut passed = vec![self.running];
        let mut history: Vec<HistoryEntry> = Vec::new();
        loop {
            prop_assert!(passed.len() < 20, "it never comes to rest: {passed:?}");
            match self.decide(catalogue, &history) {
                Decision::Move(next) => {
                    let entry = moved(
                        &self.running.to_string(),
                        &next.to.version.to_string(),
                        "Succeeded",
                    );
                    history.insert(0, entry);
                    self.running = next.to.version;
                    passed.push(self.running);
                }
                Decision::Stay { rest, .. } => {
                    if matches!(rest, Rest::Current { .. } | Rest::Affected { .. }) {
                        self.reached_by = self.follows(catalogue);
                    }
                    return Ok(passed);
                }
                Decision::Wait(wait) => prop_assert!(false, "nothing holds it back: {wait}"),
            }
        }
    }

    fn follows(&self, catalogue: &Catalogue) -> Option<String> {
        resolve(
            self.upgrade.as_ref(),
            Some(self.running),
            catalogue,
            self.kubernetes,
            self.now,
        )
        .ok()
        .map(|resolution| follows(&resolution))
    }
}

fn releases() -> impl Strategy<Value = Vec<MeshRelease>> {
    let one = (
        (4u16..9, 0u16..7),
        29u16..32,
        (30u16..34, 0u16..5),
        proptest::option::of(0usize..3),
        0u8..4,
        0u8..3,
    )
        .prop_map(
            |((minor, patch), istio, (min, width), channel, withdrawn, fix)| {
                let mut release = object(&format!("1.{minor}.{patch}"));
                release.spec.istio_version = format!("1.{istio}.0");
                release.spec.kubernetes = KubernetesRange {
                    min: format!("1.{min}"),
                    max: format!("1.{}", min + width),
                };
                if let Some(channel) = channel {
                    release.spec.channels = vec![ChannelEntry {
                        name: ReleaseChannel::ALL[channel],
                        since: Time(at("2026-11-01T00:00:00Z")),
                    }];
                }
                if withdrawn == 0 {
                    release.spec.withdrawn = Some(Withdrawn { reason: "x".into() });
                }
                if fix == 0 {
                    release.spec.fixes = vec![ReleaseFix {
                        id: format!("CVE-{patch}"),
                        cvss: None,
                        components: vec![],
                    }];
                }
                release
            },
        );
    proptest::collection::vec(one, 0..12)
}

fn upgrades() -> impl Strategy<Value = Option<Upgrade>> {
    prop_oneof![
        Just(None),
        (4u16..9).prop_map(|minor| Some(pin(&format!("1.{minor}")))),
        (4u16..9, 0u16..7).prop_map(|(minor, patch)| Some(pin(&format!("1.{minor}.{patch}")))),
        (0usize..3).prop_map(|place| Some(channel(ReleaseChannel::ALL[place]))),
    ]
}

fn worlds() -> impl Strategy<Value = World> {
    (
        upgrades(),
        (4u16..9, 0u16..7),
        proptest::option::of(prop_oneof![
            Just("Rapid"),
            Just("Stable"),
            Just("1.5"),
            Just("1.6.0")
        ]),
        releases(),
        30u16..38,
    )
        .prop_map(
            |(upgrade, (minor, patch), reached_by, objects, kubernetes)| World {
                upgrade,
                running: Version::new(1, minor, patch),
                reached_by: reached_by.map(str::to_owned),
                objects,
                kubernetes: Minor::new(1, kubernetes),
                now: at(NOW),
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn hops_are_single_minors_that_fit_and_were_not_withdrawn(world in worlds()) {
        let catalogue = Catalogue::overlaid(&world.objects);
        let Decision::Move(next) = world.decide(&catalogue, &[]) else { return Ok(()) };
        prop_assert_eq!(next.hops.first(), Some(&next.to.version));
        prop_assert_eq!(next.hops.last(), Some(&next.goal));
        let mut before = world.running;
        let mut istio = catalogue.get(before).map(|entry| entry.istio.line());
        for hop in &next.hops {
            prop_assert!(*hop != before, "{} is no hop", hop);
            prop_assert_eq!(hop.major, before.major);
            prop_assert!(hop.minor.abs_diff(before.minor) <= 1, "{} to {}", before, hop);
            let release = catalogue.get(*hop).unwrap();
            prop_assert!(release.kubernetes.contains(world.kubernetes), "{} is ahead of Kubernetes or behind", hop);
            prop_assert!(release.withdrawn.is_none(), "{} was withdrawn", hop);
            let new = release.istio.line();
            let old = istio.unwrap_or(new);
            let (low, high) = if *hop > before { (old, new) } else { (new, old) };
            prop_assert!(low <= high && high.minor - low.minor <= 1, "Istio {} to {}", old, new);
            (before, istio) = (*hop, Some(new));
        }
    }

    /// What `applink releases` says may go where is what a pin may ask for, and the other way round.
    #[test]
    fn what_is_listed_as_one_hop_is_one_and_nothing_else_is(world in worlds()) {
        let catalogue = Catalogue::overlaid(&world.objects);
        let Some(running) = catalogue.get(world.running) else { return Ok(()) };
        let listed = catalogue.one_hop(running, world.now);
        for to in catalogue.newest_first().filter(|to| to.version != running.version && to.is_available(world.now)) {
            if !running.kubernetes.overlaps(to.kubernetes) {
                continue;
            }
            let kubernetes = running.kubernetes.min.max(to.kubernetes.min);
            let pinned = World { upgrade: Some(pin(&to.version.to_string())), kubernetes, ..world.clone() };
            let is_hop = matches!(pinned.decide(&catalogue, &[]), Decision::Move(next) if next.hops == [to.version]);
            // Of each line the newest that can be reached is listed.
            let of_line = listed.iter().find(|one| one.version.line() == to.version.line());
            let is_listed = of_line.is_some_and(|one| one.version == to.version);
            prop_assert!(is_hop || !is_listed, "{} to {} is listed", running.version, to.version);
            let newest = of_line.map_or(running.version, |one| one.version);
            let is_behind = newest.line() == to.version.line() && newest >= to.version;
            prop_assert!(is_behind || !is_hop, "{} to {} is not", running.version, to.version);
        }
    }

    #[test]
    fn an_unchanged_object_that_is_applied_again_moves_nothing(world in worlds(), days in 0i64..400) {
        let mut world = world;
        let catalogue = Catalogue::overlaid(&world.objects);
        let passed = world.settle(&catalogue)?;
        let rested = world.running;
        prop_assert!(matches!(world.decide(&catalogue, &[]), Decision::Stay { .. }), "after {:?}", passed);
        // Without a channel, neither time nor newer lines do.
        let stays = world.upgrade.as_ref().is_none_or(|upgrade| upgrade.effective_channel().is_none());
        if stays && world.reached_by.is_some() {
            world.now += jiff::SignedDuration::from_hours(24 * days);
            let mut newer = world.objects.clone();
            newer.push(object("1.9.0"));
            let catalogue = Catalogue::overlaid(&newer);
            world.settle(&catalogue)?;
            prop_assert_eq!(world.running.line(), rested.line());
        }
    }

    #[test]
    fn an_exact_pin_that_runs_never_moves(world in worlds()) {
        let catalogue = Catalogue::overlaid(&world.objects);
        let pinned = World { upgrade: Some(pin(&world.running.to_string())), ..world };
        let decision = pinned.decide(&catalogue, &[]);
        prop_assert!(matches!(decision, Decision::Stay { .. }), "{decision}");
    }

    #[test]
    fn nobody_goes_back_unasked_except_from_a_withdrawn_version(world in worlds()) {
        let catalogue = Catalogue::overlaid(&world.objects);
        let withdrawn = catalogue.get(world.running).is_some_and(|release| release.withdrawn.is_some());
        if let Decision::Move(next) = world.decide(&catalogue, &[]) {
            let back = next.to.version < world.running;
            prop_assert!(!back || withdrawn || next.by == Initiator::Spec, "{next}");
            prop_assert!(!back || world.running.minor - next.to.version.minor <= 1, "{next}");
        }
    }
}
