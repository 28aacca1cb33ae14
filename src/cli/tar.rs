//! A tar archive written in memory: the few lines of the format that a support bundle needs.

/// Bytes of one tar record.
const BLOCK: usize = 512;
/// Bytes of the header's field `name` (POSIX.1-1988 ustar).
const NAME_MAX: usize = 100;
/// Bytes of the header's field `prefix`, which takes the leading folders of a longer name.
const PREFIX_MAX: usize = 155;
/// Largest size that eleven octal digits express.
const SIZE_MAX: usize = 0o777_7777_7777;

/// Why a file could not be added.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// The name is empty or longer than the format allows.
    #[error(
        "cannot add {name} to the archive: its name of {len} bytes is empty or too long for the format"
    )]
    Name {
        /// The name as given.
        name: String,
        /// Its length in bytes.
        len: usize,
    },
    /// The content is larger than the format allows.
    #[error("cannot add {name} to the archive: {len} bytes are more than the format holds")]
    Size {
        /// The name as given.
        name: String,
        /// Its length in bytes.
        len: usize,
    },
}

/// An archive that grows file by file. Owner, group and mode are fixed; `mtime` is the same for all files.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    modified: u64,
}

impl Archive {
    /// An empty archive whose files all carry this time, in seconds since 1970.
    pub fn new(modified: u64) -> Self {
        Self {
            bytes: Vec::new(),
            modified,
        }
    }

    /// Appends a regular file.
    ///
    /// # Errors
    /// [`Error::Name`] for an empty name or one that does not fit, [`Error::Size`] above 8 GiB.
    pub fn add(&mut self, name: &str, content: &[u8]) -> Result<(), Error> {
        let Some((prefix, base)) = split(name) else {
            return Err(Error::Name {
                name: name.to_owned(),
                len: name.len(),
            });
        };
        if content.len() > SIZE_MAX {
            return Err(Error::Size {
                name: name.to_owned(),
                len: content.len(),
            });
        }
        self.bytes
            .extend_from_slice(&header(prefix, base, content.len(), self.modified));
        self.bytes.extend_from_slice(content);
        let rest = content.len() % BLOCK;
        if rest != 0 {
            self.bytes.resize(self.bytes.len() + BLOCK - rest, 0);
        }
        Ok(())
    }

    /// The finished archive: two empty records end it.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 2 * BLOCK, 0);
        self.bytes
    }
}

/// The name as the header holds it: leading folders apart when it is too long for one field.
fn split(name: &str) -> Option<(&str, &str)> {
    match name.len() {
        0 => None,
        1..=NAME_MAX => Some(("", name)),
        _ => name
            .match_indices('/')
            .map(|(at, _)| (&name[..at], &name[at + 1..]))
            .find(|(prefix, base)| {
                prefix.len() <= PREFIX_MAX && (1..=NAME_MAX).contains(&base.len())
            }),
    }
}

fn header(prefix: &str, name: &str, size: usize, modified: u64) -> [u8; BLOCK] {
    let mut header = [0_u8; BLOCK];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(
        136,
        format!("{:011o}\0", modified & 0o777_7777_7777).as_bytes(),
    );
    // The checksum is computed with its own field full of blanks.
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    put(345, prefix.as_bytes());
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_system_tar_reads_back_what_was_written() {
        let mut archive = Archive::new(1_700_000_000);
        let long = format!("bundle/{}/{}.log", "p".repeat(90), "c".repeat(60));
        archive.add(&long, b"deep").unwrap();
        archive.add("bundle/empty.txt", b"").unwrap();
        archive.add("bundle/exact.bin", &[7; 512]).unwrap();
        archive
            .add("bundle/members.yaml", b"kind: MeshMember\n")
            .unwrap();
        let bytes = archive.finish();
        assert_eq!(bytes.len() % BLOCK, 0);

        for (name, content) in [
            ("bundle/members.yaml", "kind: MeshMember\n"),
            (long.as_str(), "deep"),
        ] {
            let mut tar = Command::new("tar")
                .args(["-xO", name])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            tar.stdin.take().unwrap().write_all(&bytes).unwrap();
            let output = tar.wait_with_output().unwrap();
            assert!(output.status.success(), "{name}");
            assert_eq!(String::from_utf8_lossy(&output.stdout), content);
        }
    }

    #[test]
    fn a_name_that_does_not_fit_is_refused_and_named() {
        let mut archive = Archive::new(0);
        let long = "n".repeat(101);
        assert_eq!(
            archive.add(&long, b""),
            Err(Error::Name {
                name: long.clone(),
                len: 101
            })
        );
        assert_eq!(
            archive.add("", b""),
            Err(Error::Name {
                name: String::new(),
                len: 0
            })
        );
        assert!(archive.add(&"n".repeat(100), b"").is_ok());
    }
}
