//! Imports only point down the list of layers in `src/lib.rs`.

#![expect(clippy::unwrap_used, reason = "a test ends by a panic")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Module to layer, read from the text block in the crate's documentation.
fn layers(lib: &str) -> BTreeMap<String, u32> {
    let mut layers = BTreeMap::new();
    for line in lib.lines().filter_map(|line| line.strip_prefix("//! ")) {
        let mut words = line.split_whitespace();
        if let Some(layer) = words.next().and_then(|word| word.parse().ok()) {
            layers.extend(words.map(|module| (module.to_owned(), layer)));
        }
    }
    layers
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Modules of the crate that a source names, its comments left out: `crate::a`, and `crate::{a, b::c}`.
fn imports(source: &str) -> Vec<String> {
    let code: String = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    let name = |text: &str| {
        text.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect::<String>()
    };
    let mut all = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            all.push(name(rest));
            continue;
        };
        let mut depth = 0;
        let mut start = true;
        for (place, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => start = true,
                c if start && !c.is_whitespace() => {
                    all.push(name(&group[place..]));
                    start = false;
                }
                _ => {}
            }
        }
    }
    all
}

#[test]
fn every_module_has_a_layer_and_imports_only_point_down() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let lib = std::fs::read_to_string(root.join("lib.rs")).unwrap();
    let layers = layers(&lib);
    for module in lib.lines().filter_map(|line| line.strip_prefix("pub mod ")) {
        assert!(
            layers.contains_key(module.trim_end_matches(';')),
            "{module} has no layer in lib.rs"
        );
    }
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut upward = Vec::new();
    let mut seen = 0;
    for file in files.iter().filter(|file| !file.ends_with("lib.rs")) {
        let inside = file.strip_prefix(&root).unwrap();
        let module = inside
            .iter()
            .next()
            .unwrap()
            .to_string_lossy()
            .trim_end_matches(".rs")
            .to_owned();
        let own = layers
            .get(&module)
            .unwrap_or_else(|| panic!("{} has no layer", inside.display()));
        for import in imports(&std::fs::read_to_string(file).unwrap()) {
            if let Some(layer) = layers.get(&import) {
                seen += 1;
                if layer > own {
                    upward.push(format!(
                        "{} (layer {own}) imports {import} (layer {layer})",
                        inside.display()
                    ));
                }
            }
        }
    }
    assert!(
        seen > 50,
        "only {seen} imports were found: is the reading broken?"
    );
    assert_eq!(upward, Vec::<String>::new());
}

/// Crates of the tunnel engine that a source names in its code: before the first `#[cfg(test)]`, without comments and texts.
fn engine_of(source: &str) -> Vec<&'static str> {
    const ENGINE: [&str; 3] = ["h2", "rustls", "tokio_rustls"];
    let code: String = source
        .lines()
        .take_while(|line| *line != "#[cfg(test)]")
        .map(|line| line.split("//").next().unwrap_or_default())
        // What stands between two quotation marks is a text.
        .flat_map(|line| line.split('"').step_by(2))
        .collect::<Vec<_>>()
        .join(" ");
    // A path (`h2::Error`), a renamed import (`use h2 as x`), and what hands the engine out under another name.
    let names = |name: &str, after: &str| {
        code.match_indices(&format!("{name}{after}"))
            .any(|(at, _)| {
                let before = code[..at].chars().next_back();
                !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
            })
    };
    ENGINE
        .into_iter()
        .filter(|name| {
            ["::", " as ", ";"]
                .into_iter()
                .any(|after| names(name, after))
                || names(name, "()")
        })
        .collect()
}

#[test]
fn what_is_inside_a_tunnel_shows_nowhere_outside() {
    // `control` speaks TLS with istiod, which has nothing to do with tunnels.
    let may = ["hbone/", "tls/", "control.rs", "control/"];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let (mut inside, mut outside) = (0, Vec::new());
    for file in &files {
        let place = file.strip_prefix(&root).unwrap().display().to_string();
        let is_test = file
            .iter()
            .any(|part| part == "tests" || part == "tests.rs");
        let engine = engine_of(&std::fs::read_to_string(file).unwrap());
        if may.iter().any(|may| place.starts_with(may)) {
            inside += engine.len();
        } else if !is_test && !engine.is_empty() {
            outside.push(format!("{place} names {engine:?}"));
        }
    }
    assert!(
        inside > 5,
        "only {inside} were found: is the reading broken?"
    );
    assert_eq!(outside, Vec::<String>::new());
}

#[test]
fn an_engine_is_found_by_path_by_import_and_by_what_hands_it_out() {
    for (source, found) in [
        ("use h2::Reason;", vec!["h2"]),
        ("fn a(x: Arc<rustls::ServerConfig>) {}", vec!["rustls"]),
        ("use tokio_rustls as t;", vec!["tokio_rustls"]),
        ("let config = acceptor.rustls();", vec!["rustls"]),
        (
            "use rustls_pki_types::CertificateDer; use applink_h2::x;",
            vec![],
        ),
        ("// h2::Reason\nlet x = \"h2::proto\";", vec![]),
        (
            "fn a() {}\n#[cfg(test)]\nmod tests { use h2::Reason; }",
            vec![],
        ),
    ] {
        assert_eq!(engine_of(source), found, "{source}");
    }
}

#[test]
fn grouped_and_nested_imports_are_all_read() {
    let source = "use crate::{a, b::{c, d}, e::f};\nuse crate::g::h;\n// use crate::not\nlet x = crate::i::j();";
    assert_eq!(imports(source), ["a", "b", "e", "g", "i"]);
}
