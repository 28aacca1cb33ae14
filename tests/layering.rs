//! The layers in the documentation of each library hold: imports only point down, and the core does no I/O.
//!
//! Read from the sources as text. Comments and what follows the first `#[cfg(test)]` at the start of a line do not
//! count, nor do files called `tests.rs` or in a folder `tests`.

#![allow(
    clippy::expect_used,
    reason = "a test that cannot read the sources fails"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The modules of a library by layer; a greater number is a higher layer.
type Layers = BTreeMap<String, usize>;

/// One `crate::module` in one file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Import {
    from: String,
    to: String,
    file: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The fenced block under the word "Layers".
fn layer_block(lib: &str) -> Vec<String> {
    let docs: Vec<&str> = lib
        .lines()
        .filter_map(|line| line.strip_prefix("//!"))
        .map(str::trim)
        .collect();
    let start = docs
        .iter()
        .position(|line| line.starts_with("Layers"))
        .expect("the documentation lists the layers");
    let fenced = docs[start..]
        .iter()
        .skip_while(|line| !line.starts_with("```"))
        .skip(1);
    fenced
        .take_while(|line| !line.starts_with("```"))
        .map(|line| (*line).to_owned())
        .collect()
}

/// Lines `a, b   what they are`, highest first, with one line of dashes above the core.
fn top_down(block: &[String]) -> (Layers, BTreeSet<String>) {
    let mut layers = Layers::new();
    let mut core = BTreeSet::new();
    let mut in_core = false;
    for (number, line) in block.iter().rev().enumerate() {
        if line.starts_with("---") {
            in_core = true;
            core.extend(layers.keys().cloned());
            continue;
        }
        let names = line.split("  ").next().unwrap_or_default();
        for name in names
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
        {
            layers.insert(name.to_owned(), number);
        }
    }
    assert!(in_core, "a line of dashes stands above the core");
    (layers, core)
}

/// Lines `1 a b c`, lowest first.
fn numbered(block: &[String]) -> Layers {
    let mut layers = Layers::new();
    for line in block {
        let mut words = line.split_whitespace();
        let number: usize = words
            .next()
            .and_then(|word| word.parse().ok())
            .expect("a layer starts with its number");
        layers.extend(words.map(|name| (name.to_owned(), number)));
    }
    layers
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)
        .expect("a folder of sources")
        .map(|entry| entry.expect("an entry").path())
    {
        if entry.is_dir() {
            found.extend(sources(&entry));
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            found.push(entry);
        }
    }
    found.sort();
    found
}

/// The code of a file: without comments and tests.
fn code(path: &Path) -> String {
    let is_test = path
        .iter()
        .any(|part| part == "tests" || part == "tests.rs");
    if is_test {
        return String::new();
    }
    let text = fs::read_to_string(path).expect("a source is text");
    let code: Vec<&str> = text
        .lines()
        .take_while(|line| *line != "#[cfg(test)]")
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect();
    code.join("\n")
}

/// The path of a file's module: `["status", "member"]`.
fn module(src: &Path, path: &Path) -> Vec<String> {
    let relative = path
        .strip_prefix(src)
        .expect("a source is in its folder")
        .with_extension("");
    let mut parts: Vec<String> = relative
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    parts
}

/// The names after each `prefix` in the code: one, or those at the top of a braced group.
fn names_after(code: &str, prefix: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0usize;
            let mut word = String::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => names.push(std::mem::take(&mut word)),
                    c if depth == 0 => word.push(c),
                    _ => {}
                }
            }
            names.push(word);
        } else {
            names.push(rest.to_owned());
        }
    }
    let first_word = |name: &String| -> String {
        name.trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    names
        .iter()
        .map(first_word)
        .filter(|name| !name.is_empty())
        .collect()
}

fn imports(src: &Path, layers: &Layers) -> BTreeSet<Import> {
    let mut found = BTreeSet::new();
    for path in sources(src) {
        let module = module(src, &path);
        let Some(from) = module.first().filter(|name| layers.contains_key(*name)) else {
            continue;
        };
        let code = code(&path);
        let up = "super::".repeat(module.len());
        for name in names_after(&code, "crate::")
            .into_iter()
            .chain(names_after(&code, &up))
        {
            if layers.contains_key(&name) && name != *from {
                let file = path
                    .strip_prefix(root())
                    .unwrap_or(&path)
                    .display()
                    .to_string();
                found.insert(Import {
                    from: from.clone(),
                    to: name,
                    file,
                });
            }
        }
    }
    found
}

/// Every module in `lib.rs` has a layer, and every layer names a module.
fn assert_complete(lib: &str, layers: &Layers) {
    let declared: BTreeSet<String> = lib
        .lines()
        .filter_map(|line| {
            line.strip_prefix("pub mod ")
                .or_else(|| line.strip_prefix("mod "))
        })
        .map(|name| name.trim_end_matches(';').to_owned())
        .collect();
    let listed: BTreeSet<String> = layers.keys().cloned().collect();
    assert_eq!(
        declared, listed,
        "declared modules (left) and listed layers (right) differ"
    );
}

fn assert_downward(layers: &Layers, imports: &BTreeSet<Import>) {
    let upward: Vec<&Import> = imports
        .iter()
        .filter(|import| layers[&import.to] > layers[&import.from])
        .collect();
    assert!(upward.is_empty(), "imports that point up: {upward:#?}");
    let mut edges: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for import in imports {
        edges.entry(&import.from).or_default().insert(&import.to);
    }
    for start in layers.keys() {
        let mut reached = BTreeSet::new();
        let mut open: Vec<&str> = edges
            .get(start.as_str())
            .into_iter()
            .flatten()
            .copied()
            .collect();
        while let Some(next) = open.pop() {
            assert!(
                next != start.as_str(),
                "{start} imports itself in a circle through {reached:?}"
            );
            if reached.insert(next) {
                open.extend(edges.get(next).into_iter().flatten());
            }
        }
    }
}

#[test]
fn the_operators_imports_only_point_down() {
    let lib = fs::read_to_string(root().join("src/lib.rs")).expect("the library");
    let (layers, _) = top_down(&layer_block(&lib));
    assert_complete(&lib, &layers);
    assert_downward(&layers, &imports(&root().join("src"), &layers));
}

#[test]
fn the_node_proxys_imports_only_point_down() {
    let lib = fs::read_to_string(root().join("crates/ztunnel/src/lib.rs")).expect("the library");
    let layers = numbered(&layer_block(&lib));
    assert_complete(&lib, &layers);
    assert_downward(
        &layers,
        &imports(&root().join("crates/ztunnel/src"), &layers),
    );
}

#[test]
fn the_core_mentions_no_client_async_clock_or_randomness() {
    const FORBIDDEN: [&str; 12] = [
        "kube::Client",
        "kube::Api",
        "Api<",
        "kube::client",
        "async ",
        ".await",
        "tokio::",
        "Timestamp::now",
        "Zoned::now",
        "SystemTime::now",
        "Instant::now",
        "std::env::",
    ];
    const RANDOM: [&str; 3] = ["rand::", "SystemRandom", "getrandom"];
    let src = root().join("src");
    let lib = fs::read_to_string(src.join("lib.rs")).expect("the library");
    let (_, core) = top_down(&layer_block(&lib));
    assert!(
        core.contains("plan") && core.contains("names") && !core.contains("operator"),
        "{core:?}"
    );
    let mut faults = Vec::new();
    for path in sources(&src) {
        let parts = module(&src, &path);
        let Some(name) = parts.first().filter(|name| core.contains(*name)) else {
            continue;
        };
        let text = code(&path);
        let forbidden = FORBIDDEN
            .iter()
            .chain(RANDOM.iter().filter(|_| name != "trust"));
        faults.extend(
            forbidden
                .filter(|word| text.contains(**word))
                .map(|word| format!("{}: {word}", path.display())),
        );
    }
    assert!(faults.is_empty(), "the core does I/O: {faults:#?}");
}

#[test]
fn names_are_found_in_paths_and_in_groups() {
    let code = "use crate::{api::v1::{A, names}, status};\nlet x = crate::plan::y; my_crate::no; super::super::facts::z";
    assert_eq!(names_after(code, "crate::"), ["api", "status", "plan"]);
    assert_eq!(names_after(code, "super::super::"), ["facts"]);
}
