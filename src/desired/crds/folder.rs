//! Reading definitions as they were published, one document at a time: all of them at once would be most of the operator's
//! memory. Every `*.yaml` file is read, documents of other kinds are passed over. An optional file `istio-version` says of
//! which Istio version its definitions are; those of the Gateway API say so themselves.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Bundled, Error, definition};
use crate::catalogue::Version;

/// The largest file that is read, in bytes: the bundle of Istio 1.31 has 934 103.
const LARGEST_FILE: u64 = 16 * 1024 * 1024;
/// Name of the file that says the version of Istio's definitions.
pub const ISTIO_VERSION: &str = "istio-version";

/// The definitions of a folder, in the order of file names; files and documents are read as the iterator goes.
///
/// # Errors
/// [`Error::Read`] when the folder cannot be listed or its version not be read.
pub fn bundled(
    folder: &Path,
) -> Result<impl Iterator<Item = Result<Bundled, Error>> + use<>, Error> {
    let unreadable = |source| Error::Read {
        path: folder.display().to_string(),
        source,
    };
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .map_err(unreadable)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml" || extension == "yml")
        })
        .collect();
    files.sort();
    let istio = fs::read_to_string(folder.join(ISTIO_VERSION))
        .ok()
        .and_then(|text| text.trim().trim_start_matches('v').parse().ok());
    Ok(Documents {
        files: files.into(),
        istio,
        path: String::new(),
        rest: VecDeque::new(),
    })
}

struct Documents {
    files: VecDeque<PathBuf>,
    istio: Option<Version>,
    path: String,
    rest: VecDeque<String>,
}

impl Documents {
    /// The next document's text, from the next file where this one is used up.
    fn next_text(&mut self) -> Option<Result<String, Error>> {
        loop {
            if let Some(text) = self.rest.pop_front() {
                return Some(Ok(text));
            }
            let file = self.files.pop_front()?;
            self.path = file.display().to_string();
            match read(&file, &self.path) {
                Ok(text) => self.rest = documents(&text),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl Iterator for Documents {
    type Item = Result<Bundled, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let text = match self.next_text()? {
                Ok(text) => text,
                Err(error) => return Some(Err(error)),
            };
            let found = serde_saphyr::from_str::<Value>(&text)
                .map_err(|error| Error::Parse {
                    path: self.path.clone(),
                    reason: error.to_string(),
                })
                .and_then(|document| definition(&self.path, document, self.istio));
            match found {
                Ok(None) => {}
                Ok(Some(bundled)) => return Some(Ok(bundled)),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

pub(super) fn read(file: &Path, path: &str) -> Result<String, Error> {
    let unreadable = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let size = fs::metadata(file).map_err(unreadable)?.len();
    if size > LARGEST_FILE {
        return Err(Error::Size {
            path: path.to_owned(),
            size,
        });
    }
    fs::read_to_string(file).map_err(unreadable)
}

/// The documents of a file, without those that hold comments only.
fn documents(text: &str) -> VecDeque<String> {
    let mut all = VecDeque::new();
    let mut current = String::new();
    for line in text.lines() {
        if line.trim_end() == "---" {
            all.push_back(std::mem::take(&mut current));
        } else {
            current.push_str(line);
            current.push('\n');
        }
    }
    all.push_back(current);
    all.retain(|document| {
        document
            .lines()
            .any(|line| !line.trim().is_empty() && !line.starts_with('#'))
    });
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_split_at_separators_and_comments_are_no_documents() {
        let text = "# licence\n---\na: 1\n---\n# only a comment\n---\nb: |\n  x\n  --- \n";
        assert_eq!(documents(text), ["a: 1\n", "b: |\n  x\n  --- \n"]);
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let Err(error) = bundled(Path::new("/nonexistent/crds")) else {
            panic!("read")
        };
        assert!(error.to_string().contains("/nonexistent/crds"));
    }
}
