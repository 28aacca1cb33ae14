//! The name a user typed to reach this program, so that usage lines can be copied and run.

use std::ffi::OsStr;
use std::path::Path;

/// How usage lines and hints call this program: `applink`, or `kubectl applink` when it was started as a kubectl plug-in.
///
/// kubectl finds plug-ins by the file name `kubectl-applink`, so that name alone decides.
pub fn called_as(argv0: Option<&OsStr>) -> &'static str {
    let file = argv0
        .and_then(|path| Path::new(path).file_name())
        .and_then(OsStr::to_str);
    match file {
        Some(name) if name.starts_with("kubectl-applink") => "kubectl applink",
        _ => "applink",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plug_in_calls_itself_the_way_kubectl_does() {
        let cases = [
            ("/usr/local/bin/kubectl-applink", "kubectl applink"),
            ("kubectl-applink.exe", "kubectl applink"),
            ("./applink", "applink"),
            ("", "applink"),
        ];
        for (argv0, expected) in cases {
            assert_eq!(called_as(Some(OsStr::new(argv0))), expected, "{argv0}");
        }
        assert_eq!(called_as(None), "applink");
    }
}
