//! The programs of this workspace that images and tests are made of: the release build, unless a variable names another.

use std::path::{Path, PathBuf};

/// The program is not there.
#[derive(Debug, thiserror::Error)]
#[error("{} is missing: build it with `cargo build --release`, or name it in {variable}", path.display())]
pub struct Missing {
    path: PathBuf,
    variable: &'static str,
}

/// What `variable` names, else `target/release/<name>`.
///
/// # Errors
/// There is no such file.
pub fn program(name: &str, variable: &'static str) -> Result<PathBuf, Missing> {
    let path = std::env::var_os(variable).map_or_else(
        || {
            let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
                || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
                PathBuf::from,
            );
            target.join("release").join(name)
        },
        PathBuf::from,
    );
    if path.is_file() {
        Ok(path)
    } else {
        Err(Missing { path, variable })
    }
}

/// The operator, which is node proxy and CLI as well.
///
/// # Errors
/// As [`program`].
pub fn applink() -> Result<PathBuf, Missing> {
    program("applink", "APPLINK_BIN")
}

/// The services of the demonstration and of the tests.
///
/// # Errors
/// As [`program`].
pub fn shop() -> Result<PathBuf, Missing> {
    program("shop", "SHOP_BIN")
}

/// What makes a node proxy fail a part of its connections.
///
/// # Errors
/// As [`program`].
pub fn flaky() -> Result<PathBuf, Missing> {
    program("libshop_flaky.so", "SHOP_FLAKY_LIB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_named_with_the_variable_that_names_another() {
        let error = program("no-such-program", "NO_SUCH_VARIABLE").unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("release/no-such-program is missing"),
            "{text}"
        );
        assert!(text.contains("NO_SUCH_VARIABLE"), "{text}");
    }
}
