//! What an image holds: files by their path in it. Pure, but for asking the host which libraries
//! a program needs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::definitions::Published;
use crate::command::{self, command};
use crate::files;

/// One entry of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A copy of a file of the host, with its mode.
    Copy(PathBuf),
    /// A file with this text.
    Text(String),
    /// A symbolic link.
    Link(String),
    /// An empty folder.
    Folder,
    /// A folder of definitions, packed from published ones as the operator's image holds them.
    Definitions(Published),
}

/// Entries by absolute path.
#[derive(Clone, Debug, Default)]
pub struct Rootfs {
    entries: BTreeMap<PathBuf, Entry>,
}

impl Rootfs {
    /// Adds an entry; a later one replaces an earlier.
    pub fn add(&mut self, path: impl Into<PathBuf>, entry: Entry) -> &mut Self {
        self.entries.insert(path.into(), entry);
        self
    }

    /// Adds a file of the host.
    pub fn copy(&mut self, from: &Path, to: impl Into<PathBuf>) -> &mut Self {
        self.add(to, Entry::Copy(from.to_owned()))
    }

    /// Adds a program of the host with the libraries it needs, each at the path that the loader
    /// asks for.
    pub fn program(
        &mut self,
        from: &Path,
        to: impl Into<PathBuf>,
    ) -> Result<&mut Self, command::Error> {
        self.copy(from, to);
        self.libraries_of(&[from.to_owned()])
    }

    /// Adds the libraries that programs or modules of the host need.
    pub fn libraries_of(&mut self, programs: &[PathBuf]) -> Result<&mut Self, command::Error> {
        for library in libraries(programs)? {
            self.copy(&library, library.clone());
        }
        Ok(self)
    }

    /// Adds every regular file and every link below a folder of the host. Links matter: iptables
    /// finds most of its extensions, SNAT among them, by links to one file.
    ///
    /// Folders named in `without`, right below `from`, are left out.
    pub fn tree(
        &mut self,
        from: &Path,
        to: &Path,
        without: &[&str],
    ) -> Result<&mut Self, files::Error> {
        for file in files::below(from)? {
            let name = file.strip_prefix(from).unwrap_or(&file);
            if without.iter().any(|folder| name.starts_with(folder)) {
                continue;
            }
            match files::link(&file)? {
                Some(target) => self.add(
                    to.join(name),
                    Entry::Link(target.to_string_lossy().into_owned()),
                ),
                None => self.copy(&file, to.join(name)),
            };
        }
        Ok(self)
    }

    /// Adds the accounts, folders and name-service settings that programs expect.
    pub fn basics(&mut self) -> &mut Self {
        let text = |text: &str| Entry::Text(text.to_owned());
        self.add("/etc/passwd", text("root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532::/:/sbin/nologin\nistio-proxy:x:1337:1337::/:/sbin/nologin\n"))
            .add("/etc/group", text("root:x:0:\nnonroot:x:65532:\nistio-proxy:x:1337:\n"))
            .add("/etc/nsswitch.conf", text("hosts: files dns\n"))
            .add("/tmp", Entry::Folder)
            .add("/root", Entry::Folder)
            .add("/run", Entry::Folder)
            .add("/var/run", Entry::Link("/run".to_owned()))
    }

    /// The entries in order of their path.
    pub fn entries(&self) -> impl Iterator<Item = (&Path, &Entry)> {
        self.entries
            .iter()
            .map(|(path, entry)| (path.as_path(), entry))
    }
}

/// The shared libraries and the loader of programs, as absolute paths; none for a static one.
fn libraries(programs: &[PathBuf]) -> Result<Vec<PathBuf>, command::Error> {
    match command::output(command("ldd", programs).env("LC_ALL", "C")) {
        Ok(listing) => Ok(parse_libraries(&listing)),
        Err(command::Error::Failed { output, .. })
            if output.contains("not a dynamic executable") =>
        {
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

/// Reads lines such as `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)`.
fn parse_libraries(listing: &str) -> Vec<PathBuf> {
    listing
        .lines()
        .filter_map(|line| {
            let path = line.split_once("=>").map_or(line, |(_, path)| path);
            let path = path.split_whitespace().next()?;
            // Asked about several files, ldd puts `<file>:` in front of each one's list.
            (path.starts_with('/') && !path.ends_with(':')).then(|| path.into())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_what_ldd_says() {
        let listing = "/usr/bin/tar:\n\tlinux-vdso.so.1 (0x00007ffc)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        assert_eq!(
            parse_libraries(listing),
            [
                "/lib/x86_64-linux-gnu/libc.so.6",
                "/lib64/ld-linux-x86-64.so.2"
            ]
            .map(PathBuf::from)
        );
        assert_eq!(
            parse_libraries("\tstatically linked\n"),
            Vec::<PathBuf>::new()
        );
    }
}
