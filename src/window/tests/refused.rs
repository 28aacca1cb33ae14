//! What is refused, and what it says.

use super::*;

#[test]
fn what_cannot_be_used_is_refused_by_field_with_what_to_write_instead() {
    let table = [
        (
            window(&[], "22:00", "4h", Some("Europe/Berln")),
            "maintenanceWindows[0].timeZone: \"Europe/Berln\" is no time zone",
        ),
        (
            window(&[], "22:00", "4h", Some("Etc/Unknown")),
            "maintenanceWindows[0].timeZone: \"Etc/Unknown\" is no time zone",
        ),
        (
            window(&[], "22:00", "59s", None),
            "maintenanceWindows[0].duration: 59s is shorter than a minute",
        ),
        (
            window(&[], "22:00", "0h", None),
            "maintenanceWindows[0].duration: 0h is shorter than a minute",
        ),
        (
            window(&[], "22:00", "169h", None),
            "maintenanceWindows[0].duration: 169h is longer than a week",
        ),
        (
            window(&[], "22:00", "four", None),
            "maintenanceWindows[0].duration: \"four\" is no duration",
        ),
        (
            window(&[], "24:00", "4h", None),
            "maintenanceWindows[0].start: \"24:00\" is no time of day",
        ),
        (
            window(&[], "9:00", "4h", None),
            "maintenanceWindows[0].start: \"9:00\" is no time of day",
        ),
    ];
    for (window, expected) in table {
        let fault = read(&upgrade(vec![window], Vec::new())).unwrap_err();
        assert!(
            fault.to_string().contains(expected),
            "{fault} does not say {expected}"
        );
    }
    let turned = exclusion("sale", "2026-12-01T00:00:00Z", "2026-11-20T00:00:00Z", None);
    let fault = read(&upgrade(Vec::new(), vec![turned])).unwrap_err();
    assert!(
        fault.to_string().contains("\"sale\" ends before it begins"),
        "{fault}"
    );
}
