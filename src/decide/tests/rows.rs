//! The table of decisions: what the spec says, what runs, what comes of it.

use std::collections::BTreeSet;

use super::*;
use ExclusionScope::{NoMinorUpgrades, NoUpgrades};
use ReleaseChannel::{Extended, Rapid, Stable};

/// Nothing runs yet.
#[rustfmt::skip]
fn installs() -> Vec<Case> {
    let mut broken = object("1.6.5");
    broken.spec.istio_version = "1.40.0".into();
    vec![
        case("the minor before the newest", UNPINNED, NOTHING, "move 1.5.4 by Spec: install"),
        case("a minor", pin("1.6"), NOTHING, "move 1.6.0 by Spec: install"),
        case("an exact version", pin("1.5.2"), NOTHING, "move 1.5.2 by Spec: install"),
        case("a channel", channel(Rapid), NOTHING, "move 1.6.0 by Spec: install"),
        case("the default channel", Upgrade { mode: Some(UpgradeMode::FullyManaged), ..Upgrade::default() }, NOTHING, "move 1.5.4 by Spec: install"),
        case("an install waits for no window", at_night("22:00", pin("1.6")), NOTHING, "move 1.6.0 by Spec: install"),
        case("an install waits for no exclusion", frozen(NoUpgrades, pin("1.6")), NOTHING, "move 1.6.0 by Spec: install"),
        case("an install waits while paused", Upgrade { paused: Some(true), ..pin("1.6") }, NOTHING, "wait for pause until -: 1.6.0"),
        case("an install that failed is not tried again by itself", pin("1.6"), NOTHING, "failed 1.6.0").failed("1.6.0", "abc"),
        case("a pin that does not exist", pin("1.9"), NOTHING, "refused UnknownVersion"),
        case("a pin that is no version", pin("latest"), NOTHING, "refused InvalidSpec"),
        case("a pin on an entry that cannot be read", pin("1.6.5"), NOTHING, "refused MalformedRelease").with([broken]),
        case("a pin that does not fit", pin("1.4"), NOTHING, "refused KubernetesOutOfRange").on("1.36"),
        case("a withdrawn pin", pin("1.6.0"), NOTHING, "refused ReleaseWithdrawn").with([withdrawn("1.6.0")]),
        case("a channel without a release for this Kubernetes", channel(Rapid), NOTHING, "refused NoReleaseInChannel").on("1.31"),
        case("nothing fits this Kubernetes", UNPINNED, NOTHING, "refused KubernetesOutOfRange").on("1.37"),
    ]
}

/// No pin: the line that runs, for good.
#[rustfmt::skip]
fn sticky() -> Vec<Case> {
    vec![
        case("re-applied without a pin", UNPINNED, "1.5.4", "current"),
        case("an oldest line stays", UNPINNED, "1.4.7", "current"),
        case("a newest line stays", UNPINNED, "1.6.0", "current"),
        case("a newer line moves nobody", UNPINNED, "1.5.4", "current").with([object("1.7.0")]),
        case("an empty upgrade means the same", Upgrade::default(), "1.4.7", "current"),
        case("the default mode spelled out means the same", Upgrade { mode: Some(UpgradeMode::SelfManaged), ..Upgrade::default() }, "1.4.7", "current"),
        case("a new patch is followed", UNPINNED, "1.5.4", "move 1.5.9 by Operator: patch").with([object("1.5.9")]),
        case("a vulnerable patch is left", UNPINNED, "1.5.2", "move 1.5.4 by Operator: affected"),
        case("Kubernetes went on without it", UNPINNED, "1.4.7", "current").on("1.36"),
        case("what runs is in no catalogue", UNPINNED, "1.3.9", "refused UnknownVersion"),
    ]
}

/// A minor is pinned.
#[rustfmt::skip]
fn minors() -> Vec<Case> {
    let mut far = object("1.7.0");
    far.spec.kubernetes.min = "1.36".into();
    let mut future = object("1.5.9");
    future.spec.released = Some("2026-12-24".into());
    vec![
        case("the line that runs", pin("1.5"), "1.5.4", "current"),
        case("one up", pin("1.6"), "1.5.4", "move 1.6.0 by Spec: asked"),
        case("one up, outside the window", at_night("22:00", pin("1.6")), "1.5.4", "move 1.6.0 by Spec: asked"),
        case("one up, in an exclusion", frozen(NoUpgrades, pin("1.6")), "1.5.4", "move 1.6.0 by Spec: asked"),
        case("several up are hops", pin("1.6"), "1.4.7", "move 1.5.4 1.6.0 by Spec: asked"),
        case("the second hop", pin("1.6"), "1.5.4", "move 1.6.0 by Spec: asked").by("1.4").after([moved("1.4.7", "1.5.4", "Succeeded")]),
        case("three up", pin("1.8"), "1.5.4", "move 1.6.0 1.7.0 1.8.0 by Spec: asked").with([object("1.7.0"), object("1.8.0")]),
        case("an affected version is left first", pin("1.6"), "1.4.5", "move 1.4.7 1.5.4 1.6.0 by Spec: affected"),
        case("a line between is missing", pin("1.8"), "1.6.0", "refused NoUpgradePath").with([object("1.8.0")]),
        case("a line between is withdrawn", pin("1.8"), "1.6.0", "refused NoUpgradePath").with([withdrawn("1.7.0"), object("1.8.0")]),
        case("a line between does not fit", pin("1.8"), "1.6.0", "refused NoUpgradePath").with([far, object("1.8.0")]),
        case("a hop over an Istio minor", pin("1.6"), "1.4.7", "refused NoUpgradePath").with([object("1.5.9")]),
        case("a patch over an Istio minor", pin("1.4"), "1.4.7", "refused NoUpgradePath").with([object("1.4.9")]),
        case("a patch over an Istio minor, on the way up", pin("1.5"), "1.4.7", "refused NoUpgradePath").with([object("1.5.9")]),
        case("a fix over an Istio minor is none", pin("1.4"), "1.4.5", "refused NoUpgradePath").with([object("1.4.9")]),
        case("a line with an older Istio", pin("1.7"), "1.6.0", "refused NoUpgradePath").with([carrying("1.7.0", "1.30.4")]),
        case("back over an Istio minor", pin("1.4"), "1.5.9", "refused NoUpgradePath").with([object("1.5.9")]),
        case("an older patch with a newer Istio", pin("1.5.2"), "1.5.4", "refused NoUpgradePath").with([carrying("1.5.2", "1.31.0")]),
        case("another major", pin("2.0"), "1.6.0", "refused NoUpgradePath").with([object("2.0.0")]),
        case("one back", pin("1.5"), "1.6.0", "move 1.5.4 by Spec: asked"),
        case("two back", pin("1.4"), "1.6.0", "refused TooFarBack"),
        case("one back after one back", pin("1.4"), "1.5.4", "refused TooFarBack").after([moved("1.6.0", "1.5.4", "Succeeded"), moved("1.5.4", "1.6.0", "Succeeded")]),
        case("one back after an upgrade that failed", pin("1.4"), "1.5.4", "move 1.4.7 by Spec: asked").after([moved("1.5.4", "1.6.0", "RolledBack"), moved("1.4.7", "1.5.4", "Succeeded")]),
        case("one back and forth again", pin("1.6"), "1.5.4", "move 1.6.0 by Spec: asked").after([moved("1.6.0", "1.5.4", "Succeeded")]),
        case("ahead of Kubernetes", pin("1.6"), "1.5.4", "refused KubernetesOutOfRange").on("1.37"),
        case("behind Kubernetes", pin("1.6"), "1.4.7", "refused KubernetesOutOfRange").on("1.31"),
        case("every hop fits", pin("1.6"), "1.4.7", "move 1.5.4 1.6.0 by Spec: asked").on("1.36"),
        case("a line that does not exist", pin("1.9"), "1.5.4", "refused UnknownVersion"),
        case("a new patch waits for the window", at_night("22:00", pin("1.5")), "1.5.4", "wait for window until 2026-11-21T22:00:00Z: 1.5.9").with([object("1.5.9")]),
        case("a new patch in the window", at_night("09:00", pin("1.5")), "1.5.4", "move 1.5.9 by Operator: patch").with([object("1.5.9")]),
        case("a patch of the future", pin("1.5"), "1.5.4", "current").with([future]),
        case("a new patch without its channel is a patch all the same", pin("1.6"), "1.6.0", "move 1.6.1 by Operator: patch").with([object("1.6.1")]),
        case("an exact pin widened to its minor is asked for", at_night("22:00", pin("1.5")), "1.5.2", "move 1.5.4 by Spec: affected").by("1.5.2"),
        case("a withdrawn patch gives way downwards", pin("1.5"), "1.5.4", "move 1.5.3 by Operator: affected").with([withdrawn("1.5.4")]),
        case("a withdrawn patch gives way upwards", pin("1.5"), "1.5.4", "move 1.5.9 by Operator: affected").with([withdrawn("1.5.4"), object("1.5.9")]),
        case("the only patch was withdrawn", pin("1.6"), "1.6.0", "affected").with([withdrawn("1.6.0")]),
        case("the entry of what runs is gone", pin("1.5"), "1.5.9", "refused UnknownVersion"),
    ]
}

/// An exact version is pinned.
#[rustfmt::skip]
fn exact() -> Vec<Case> {
    let mut future = object("1.6.2");
    future.spec.released = Some("2027-01-01".into());
    vec![
        case("what is pinned runs", pin("1.5.4"), "1.5.4", "current"),
        case("a newer patch moves nothing", pin("1.5.4"), "1.5.4", "current").with([object("1.5.9")]),
        case("a vulnerable one stays and says so", pin("1.5.2"), "1.5.2", "pinned"),
        case("a withdrawn one stays and says so", pin("1.5.4"), "1.5.4", "pinned").with([withdrawn("1.5.4")]),
        case("it stays when Kubernetes went on", pin("1.4.7"), "1.4.7", "current").on("1.36"),
        case("a later patch, outside the window", at_night("22:00", pin("1.5.4")), "1.5.2", "move 1.5.4 by Spec: asked"),
        case("an earlier patch", pin("1.5.2"), "1.5.4", "move 1.5.2 by Spec: asked"),
        case("an earlier patch after a later minor ran", pin("1.5.2"), "1.5.4", "move 1.5.2 by Spec: asked").after([moved("1.6.0", "1.5.4", "Succeeded")]),
        case("several minors up go straight", pin("1.6.0"), "1.4.5", "move 1.5.4 1.6.0 by Spec: asked"),
        case("two minors back", pin("1.4.7"), "1.6.0", "refused TooFarBack"),
        case("one that does not exist", pin("1.6.9"), "1.6.0", "refused UnknownVersion"),
        case("one that was withdrawn", pin("1.6.0"), "1.5.4", "refused ReleaseWithdrawn").with([withdrawn("1.6.0")]),
        case("one that is not released yet", pin("1.6.2"), "1.6.0", "refused UnknownVersion").with([future]),
        case("what runs left the catalogue", pin("1.6.9"), "1.6.9", "refused UnknownVersion"),
    ]
}

/// A channel is followed.
#[rustfmt::skip]
fn channels() -> Vec<Case> {
    vec![
        case("what it means runs", channel(Stable), "1.5.4", "current").by("Stable"),
        case("it has moved", channel(Rapid), "1.5.4", "move 1.6.0 by Channel: channel").by("Rapid"),
        case("it has moved by two", channel(Rapid), "1.4.7", "move 1.5.4 1.6.0 by Channel: channel").by("Rapid"),
        case("it has moved, outside the window", at_night("22:00", channel(Rapid)), "1.5.4", "wait for window until 2026-11-21T22:00:00Z: 1.6.0").by("Rapid"),
        case("it has moved, in the window", at_night("09:00", channel(Rapid)), "1.5.4", "move 1.6.0 by Channel: channel").by("Rapid"),
        case("nobody recorded what was followed", at_night("22:00", channel(Rapid)), "1.5.4", "wait for window until 2026-11-21T22:00:00Z: 1.6.0"),
        case("another channel, upwards, at once", at_night("22:00", channel(Rapid)), "1.5.4", "move 1.6.0 by Spec: asked").by("Stable"),
        case("another channel, downwards, at once", at_night("22:00", channel(Stable)), "1.6.0", "move 1.5.4 by Spec: asked").by("Rapid"),
        case("another channel that means the same", channel(Extended), "1.5.4", "current").by("Stable"),
        case("another channel, two steps down", channel(Extended), "1.6.0", "refused TooFarBack").by("Rapid").at("2026-10-01T00:00:00Z"),
        case("another channel, one step down", channel(Extended), "1.5.4", "move 1.4.7 by Spec: asked").by("Rapid").at("2026-10-01T00:00:00Z"),
        case("it means less than what runs and nobody asked", channel(Stable), "1.6.0", "ahead of 1.5.4").by("Stable"),
        case("an object moves it", channel(Stable), "1.5.4", "move 1.6.1 by Channel: channel").by("Stable").with([in_channel("1.6.1", Stable, "2026-11-01T00:00:00Z")]),
        case("an object moves it, not before its time", channel(Stable), "1.5.4", "current").by("Stable").with([in_channel("1.6.1", Stable, "2026-12-01T00:00:00Z")]),
        case("an entry that lost its channel moves nobody back", channel(Rapid), "1.6.0", "ahead of 1.5.4").by("Rapid").with([object("1.6.0")]),
        case("it takes what fits", channel(Stable), "1.4.7", "current").by("Stable").on("1.31"),
        case("it has nothing for this Kubernetes", channel(Rapid), "1.4.7", "refused NoReleaseInChannel").by("Rapid").on("1.31"),
        case("a new Kubernetes lets it move", channel(Stable), "1.4.7", "move 1.5.4 by Channel: channel").by("Stable").on("1.32"),
        case("an affected version is left first", channel(Stable), "1.4.5", "move 1.4.7 1.5.4 by Channel: affected").by("Stable"),
        case("a withdrawn version goes back where the channel means less", channel(Rapid), "1.6.0", "move 1.5.4 by Channel: affected").by("Rapid").with([withdrawn("1.6.0")]),
        case("or to a better patch of its line, although the channel does not list it", channel(Rapid), "1.6.0", "move 1.6.1 by Channel: affected").by("Rapid").with([withdrawn("1.6.0"), object("1.6.1")]),
        case("a channel that lists a vulnerable patch means its fix", channel(Stable), "1.4.6", "move 1.4.7 by Channel: affected").by("Stable").at("2026-08-28T00:00:00Z"),
        case("also for who comes to the channel", channel(Stable), "1.4.2", "move 1.4.7 by Spec: affected").by("Rapid").at("2026-08-28T00:00:00Z"),
        case("and it is not taken back to the vulnerable one", channel(Stable), "1.4.7", "current").by("Rapid").at("2026-08-28T00:00:00Z"),
        case("who asks to go back is not sent up first", channel(Stable), "1.6.0", "move 1.5.4 by Spec: asked").by("Rapid").with([withdrawn("1.6.0"), object("1.6.1")]),
        case("the patch before is a step down too", channel(Stable), "1.6.2", "move 1.6.1 by Spec: asked").by("Rapid").with([object("1.6.2"), in_channel("1.6.1", Stable, "2026-11-01T00:00:00Z")]),
    ]
}

/// The mode is switched in place.
#[rustfmt::skip]
fn modes() -> Vec<Case> {
    vec![
        case("to a channel that means what runs", channel(Stable), "1.5.4", "current").by("1.5"),
        case("to a channel above", channel(Rapid), "1.5.4", "move 1.6.0 by Spec: asked").by("1.5"),
        case("to a channel below", channel(Stable), "1.6.0", "move 1.5.4 by Spec: asked").by("1.6"),
        case("to SelfManaged without a pin: what runs stays", UNPINNED, "1.6.0", "current").by("Rapid"),
        case("to SelfManaged with the line that runs", pin("1.6"), "1.6.0", "current").by("Rapid"),
        case("to SelfManaged with another line", pin("1.5"), "1.6.0", "move 1.5.4 by Spec: asked").by("Rapid"),
        case("to an exact pin on what runs", pin("1.6.0"), "1.6.0", "current").by("Rapid"),
    ]
}

/// Windows, exclusions, pauses, stages.
#[rustfmt::skip]
fn times() -> Vec<Case> {
    let rapid = || channel(Rapid);
    let fixes_pass = |upgrade: Upgrade| Upgrade { allow_security_fixes: Some(true), ..upgrade };
    let nowhere = |upgrade: Upgrade| {
        let mut upgrade = at_night("22:00", upgrade);
        upgrade.maintenance_windows.as_mut().unwrap()[0].time_zone = Some("Europe/Atlantis".into());
        upgrade
    };
    let short = |upgrade: Upgrade| {
        let mut upgrade = at_night("22:00", upgrade);
        upgrade.maintenance_windows.as_mut().unwrap()[0].duration = "30s".into();
        upgrade
    };
    let never = |upgrade: Upgrade| {
        let mut upgrade = frozen(NoUpgrades, upgrade);
        upgrade.exclusions.as_mut().unwrap()[0].to = Time(at("9999-12-30T22:00:00Z"));
        at_night("22:00", upgrade)
    };
    let paused = |upgrade: Upgrade| Upgrade { paused: Some(true), ..upgrade };
    vec![
        case("an exclusion of everything", frozen(NoUpgrades, rapid()), "1.5.4", "wait for sale until 2026-12-01T00:00:00Z: 1.6.0").by("Rapid"),
        case("an exclusion of minors", frozen(NoMinorUpgrades, rapid()), "1.5.4", "wait for sale until 2026-12-01T00:00:00Z: 1.6.0").by("Rapid"),
        case("an exclusion of minors lets patches pass", frozen(NoMinorUpgrades, pin("1.5")), "1.5.4", "move 1.5.9 by Operator: patch").with([carrying("1.5.9", "1.30.9")]),
        case("but none that is a minor of Istio's", frozen(NoMinorUpgrades, pin("1.5")), "1.5.4", "wait for sale until 2026-12-01T00:00:00Z: 1.5.9").with([object("1.5.9")]),
        case("an exclusion of minors lets the way out of an affected version begin", frozen(NoMinorUpgrades, channel(Stable)), "1.4.5", "move 1.4.7 1.5.4 by Channel: affected").by("Stable"),
        case("and holds its minor hop", frozen(NoMinorUpgrades, channel(Stable)), "1.4.7", "wait for sale until 2026-12-01T00:00:00Z: 1.5.4").by("Stable"),
        case("an exclusion, then the window", at_night("22:00", frozen(NoUpgrades, rapid())), "1.5.4", "wait for sale until 2026-12-01T22:00:00Z: 1.6.0").by("Rapid"),
        case("a fix waits for an exclusion", frozen(NoUpgrades, channel(Stable)), "1.5.3", "wait for sale until 2026-12-01T00:00:00Z: 1.5.4").by("Stable"),
        case("a fix that may pass", fixes_pass(frozen(NoUpgrades, channel(Stable))), "1.5.3", "move 1.5.4 by Channel: affected").by("Stable"),
        case("a withdrawal is a fix", fixes_pass(frozen(NoUpgrades, rapid())), "1.6.0", "move 1.6.1 by Channel: affected").by("Rapid").with([withdrawn("1.6.0"), object("1.6.1")]),
        case("what fixes nothing does not pass", fixes_pass(frozen(NoUpgrades, rapid())), "1.5.4", "wait for sale until 2026-12-01T00:00:00Z: 1.6.0").by("Rapid"),
        case("a fix never passes a window", fixes_pass(at_night("22:00", channel(Stable))), "1.5.3", "wait for window until 2026-11-21T22:00:00Z: 1.5.4").by("Stable"),
        case("an exclusion for ever", never(rapid()), "1.5.4", "wait for sale until -: 1.6.0").by("Rapid"),
        case("an unknown zone", nowhere(rapid()), "1.5.4", "refused InvalidSpec").by("Rapid"),
        case("an unknown zone, whatever is asked", nowhere(pin("1.6")), "1.5.4", "refused InvalidSpec"),
        case("a window shorter than a minute", short(rapid()), "1.5.4", "refused InvalidSpec").by("Rapid"),
        case("paused by the spec", paused(rapid()), "1.5.4", "wait for pause until -: 1.6.0").by("Rapid"),
        case("paused, whatever is asked", paused(pin("1.6")), "1.5.4", "wait for pause until -: 1.6.0"),
        case("paused by the annotation", rapid(), "1.5.4", "wait for resume until -: 1.6.0").by("Rapid").annotated(),
        case("paused with nothing to do", paused(pin("1.5")), "1.5.4", "current"),
        case("an earlier stage", rapid(), "1.5.4", "wait for stage first until -: 1.6.0").by("Rapid").held(),
        case("an earlier stage, but asked for", pin("1.6"), "1.5.4", "move 1.6.0 by Spec: asked").held(),
    ]
}

/// What failed here, and the per-node template.
#[rustfmt::skip]
fn failures_and_templates() -> Vec<Case> {
    use TemplateAuthor::{Operator, Release, Spec};
    vec![
        case("a channel's release failed", channel(Rapid), "1.5.4", "failed 1.6.0").by("Rapid").failed("1.6.0", "abc"),
        case("it failed, and the channel moves on", channel(Rapid), "1.5.4", "move 1.6.1 by Channel: channel").by("Rapid").failed("1.6.0", "abc").with([in_channel("1.6.1", Rapid, "2026-11-21T00:00:00Z")]),
        case("a hop on the way failed", pin("1.6"), "1.4.7", "failed 1.5.4").failed("1.5.4", "abc"),
        case("a pinned patch failed", pin("1.5"), "1.5.4", "failed 1.5.9").with([object("1.5.9")]).failed("1.5.9", "abc"),
        case("what was asked for failed", pin("1.6"), "1.5.4", "failed 1.6.0").by("1.5").failed("1.6.0", "abc"),
        case("the fix failed: the next best", channel(Stable), "1.4.5", "move 1.5.4 by Channel: channel").by("Stable").failed("1.4.7", "abc"),
        case("another release failed", channel(Rapid), "1.5.4", "move 1.6.0 by Channel: channel").by("Rapid").failed("1.5.3", "abc"),
        case("equal templates", pin("1.5"), "1.5.4", "current"),
        case("the owner changed the template", at_night("22:00", pin("1.5")), "1.5.4", "move 1.5.4 by Spec: template").template("new", Spec),
        case("a new operator changed it", at_night("22:00", pin("1.5")), "1.5.4", "wait for window until 2026-11-21T22:00:00Z: 1.5.4").template("new", Operator),
        case("a new operator changed it, in the window", at_night("09:00", pin("1.5")), "1.5.4", "move 1.5.4 by Operator: template").template("new", Operator),
        case("a new operator, an exact pin", pin("1.5.4"), "1.5.4", "move 1.5.4 by Operator: template").template("new", Operator),
        case("its MeshRelease has other images", at_night("22:00", pin("1.5")), "1.5.4", "wait for window until 2026-11-21T22:00:00Z: 1.5.4").template("new", Release),
        case("its MeshRelease has other images, in the window", pin("1.5"), "1.5.4", "move 1.5.4 by Operator: template").template("new", Release),
        case("its MeshRelease has other images, and a channel is followed", channel(Stable), "1.5.4", "move 1.5.4 by Channel: template").by("Stable").template("new", Release),
        case("the template failed", pin("1.5"), "1.5.4", "failed 1.5.4").template("new", Spec).failed("1.5.4", "new"),
        case("another template failed", pin("1.5"), "1.5.4", "move 1.5.4 by Spec: template").template("newer", Spec).failed("1.5.4", "new"),
        case("a version goes before a template", channel(Rapid), "1.5.4", "move 1.6.0 by Channel: channel").by("Rapid").template("new", Operator),
        case("the owner's template does not wait for the channel's move", at_night("22:00", channel(Rapid)), "1.5.4", "move 1.5.4 by Spec: template").by("Rapid").template("new", Spec),
        case("nor for a release that failed", pin("1.6"), "1.5.4", "move 1.5.4 by Spec: template").by("1.6").failed("1.6.0", "abc").template("new", Spec),
        case("but for somebody who paused", pin("1.5"), "1.5.4", "wait for resume until -: 1.5.4").annotated().template("new", Spec),
        case("a template while the version is refused", pin("1.9"), "1.5.4", "refused UnknownVersion").template("new", Spec),
    ]
}

/// Defects of the managed product: reference app-net, sections 7.4 and 13, those about versions, modes and retries.
#[rustfmt::skip]
fn defects() -> Vec<Case> {
    vec![
        case("13: an unchanged re-apply without a pin, when the default has moved", UNPINNED, "1.4.7", "current").with([in_channel("1.7.0", Stable, "2026-11-01T00:00:00Z")]),
        case("13: an unchanged re-apply in the middle of a year of releases", Upgrade::default(), "1.4.7", "current").at("2026-09-15T00:00:00Z"),
        case("13: validated from what runs: asked 1.5, not reached, asks 1.6", pin("1.6"), "1.4.7", "move 1.5.4 1.6.0 by Spec: asked").by("1.4").after([moved("1.4.7", "1.5.4", "Aborted")]),
        case("13: validated from what runs: asked 1.6, not reached, asks 1.4", pin("1.4"), "1.5.4", "move 1.4.7 by Spec: asked").by("1.5").after([moved("1.5.4", "1.6.0", "RolledBack")]),
        case("7.4: a refused request does not poison the next one", pin("1.5"), "1.4.7", "move 1.5.4 by Spec: asked").by("1.4"),
        case("7.4: nor a return to what runs", pin("1.4"), "1.4.7", "current").by("1.4"),
        case("13: no retry for ever on what only the owner can mend", pin("1.6"), "1.5.4", "refused KubernetesOutOfRange").on("1.37"),
        case("13: a failed upgrade is over, not in progress for ever", pin("1.6"), "1.5.4", "failed 1.6.0").failed("1.6.0", "abc"),
        case("13: an update in one mode is as good as in the other", channel(Stable), "1.4.7", "move 1.5.4 by Spec: asked").by("1.4"),
    ]
}

fn all() -> Vec<Case> {
    [
        installs(),
        sticky(),
        minors(),
        exact(),
        channels(),
        modes(),
        times(),
        failures_and_templates(),
        defects(),
    ]
    .concat()
}

#[test]
fn every_row_of_the_table_comes_out_as_written() {
    let wrong: Vec<String> = all()
        .iter()
        .map(|case| (case, say(&case.decide())))
        .filter(|(case, said)| case.expected != said)
        .map(|(case, said)| format!("{}: {said}, not {}", case.what, case.expected))
        .collect();
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn the_table_has_more_than_a_hundred_different_rows() {
    let rows: BTreeSet<String> = all()
        .into_iter()
        .map(|case| format!("{:?}", Case { what: "", ..case }))
        .collect();
    assert!(rows.len() > 100, "{} different rows", rows.len());
}
