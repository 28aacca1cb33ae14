//! Which area of the product a test is of, and how long the tests of each took.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Areas and what they may take on a cold machine, in seconds.
const AREAS: [(&str, u64); 5] = [
    ("build", 22 * 60),
    ("unit, golden and API server", 6 * 60),
    ("install, leave and bad input", 10 * 60),
    ("upgrade", 14 * 60),
    ("proxy", 6 * 60),
];
/// Modules of the mesh tests that are about upgrades, and about the node proxy. All others are about install, leave and bad
/// input.
const UPGRADE: &str = "upgrades";
const PROXY: &str = "traffic";

/// The area of suites that build and check without running anything of ours.
pub const BUILD: &str = AREAS[0].0;
/// That of suites that say nothing else.
pub const UNIT: &str = AREAS[1].0;

/// The area of a test on the real cluster, by its module; none for a test without one.
fn of_test(name: &str) -> Option<&'static str> {
    let (module, _) = name.split_once("::")?;
    Some(match module {
        UPGRADE => "upgrade",
        PROXY => "proxy",
        _ => "install, leave and bad input",
    })
}

/// Time by area: of tests that run one at a time, each takes what has passed since the one before has ended.
#[derive(Debug)]
pub struct Clock {
    by_module: bool,
    /// That of the suite; by module, that of the last test.
    area: &'static str,
    last: Instant,
    spent: BTreeMap<&'static str, Duration>,
}

impl Clock {
    /// Starts with the area of a suite, whose tests are told apart by their module or not.
    pub fn of(area: &'static str, by_module: bool) -> Self {
        Self {
            by_module,
            area,
            last: Instant::now(),
            spent: BTreeMap::new(),
        }
    }

    /// A line of its output at that moment. How long the test took that it tells the end of, where tests are told apart.
    pub fn line(&mut self, line: &str, now: Instant) -> Option<Duration> {
        let test = line.trim().strip_prefix("test ")?;
        let (name, _) = test.split_once(" ... ")?;
        let area = of_test(name).filter(|_| self.by_module);
        self.area = area.unwrap_or(self.area);
        let took = self.pass(now);
        self.by_module.then_some(took)
    }

    /// The suite has ended: what is left goes to the last area.
    pub fn ended(mut self, now: Instant) -> BTreeMap<&'static str, Duration> {
        self.pass(now);
        self.spent
    }

    fn pass(&mut self, now: Instant) -> Duration {
        let took = now.saturating_duration_since(self.last);
        *self.spent.entry(self.area).or_default() += took;
        self.last = now;
        took
    }
}

/// What each area took of the wall clock while these suites ran side by side: they share the machine, so each counts for its part
/// of all their times together. The sum is `wall`.
pub fn shared<'a>(
    suites: impl Iterator<Item = &'a BTreeMap<&'static str, Duration>>,
    wall: Duration,
) -> BTreeMap<&'static str, Duration> {
    let mut spent = BTreeMap::<_, Duration>::new();
    for (area, took) in suites.flatten() {
        *spent.entry(*area).or_default() += *took;
    }
    let all = spent.values().sum::<Duration>().as_secs_f64();
    // It may be that nothing ran for any time at all.
    let all = all.max(f64::MIN_POSITIVE);
    for took in spent.values_mut() {
        *took = wall.mul_f64(took.as_secs_f64() / all);
    }
    spent
}

/// One line an area, beside what it may take.
pub fn told(spent: &BTreeMap<&'static str, Duration>) -> Vec<String> {
    AREAS
        .iter()
        .filter_map(|(area, budget)| {
            let seconds = spent.get(area)?.as_secs();
            let over = if seconds > *budget { ", over it" } else { "" };
            Some(format!(
                "{seconds:>6} s  of {budget} s on a cold machine{over}  {area}"
            ))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_test_takes_what_has_passed_since_the_one_before() {
        let mut clock = Clock::of(UNIT, true);
        let start = clock.last;
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut took = Vec::new();
        for (line, seconds) in [
            ("running 3 tests", 1),
            ("test a_rule_is_refused ... ok", 5),
            ("test upgrades::releases::a_pin_moves ... ok", 105),
            (
                "test upgrades::overlap::broken::it_is_caught ... FAILED",
                905,
            ),
            ("test input::a_row ... ok", 915),
            ("test traffic::upstream::it_flows ... ignored, no path", 915),
            ("test result: ok. 3 passed; 0 failed; 0 ignored", 916),
        ] {
            took.extend(clock.line(line, at(seconds)));
        }
        assert_eq!(took, [5, 100, 800, 10, 0].map(Duration::from_secs));
        let expected = [
            "     5 s  of 360 s on a cold machine  unit, golden and API server",
            "    10 s  of 600 s on a cold machine  install, leave and bad input",
            "   900 s  of 840 s on a cold machine, over it  upgrade",
            "     1 s  of 360 s on a cold machine  proxy",
        ];
        assert_eq!(told(&clock.ended(at(916))), expected);
    }

    #[test]
    fn suites_side_by_side_share_the_wall_clock() {
        let seconds = Duration::from_secs;
        let [first, second] = [
            BTreeMap::from([("upgrade", seconds(200)), ("proxy", seconds(100))]),
            BTreeMap::from([("upgrade", seconds(100))]),
        ];
        let expected = BTreeMap::from([("upgrade", seconds(225)), ("proxy", seconds(75))]);
        assert_eq!(
            shared([&first, &second].into_iter(), seconds(300)),
            expected
        );
        assert_eq!(shared([&second].into_iter(), seconds(100)), second);
        let none = BTreeMap::from([("proxy", Duration::ZERO)]);
        assert_eq!(shared([&none].into_iter(), Duration::ZERO), none);
    }

    #[test]
    fn tests_of_other_suites_belong_to_their_suite() {
        let mut clock = Clock::of(BUILD, false);
        let then = clock.last + Duration::from_secs(7);
        let line = "test upgrades::releases::a_pin_moves ... ok";
        assert_eq!(clock.line(line, then), None);
        assert_eq!(clock.ended(then)["build"], Duration::from_secs(7));
    }
}
