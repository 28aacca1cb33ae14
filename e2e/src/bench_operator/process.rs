//! A process in a pod, read in `/proc` of the machine: what it used of CPU and memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a reader of `/proc` may meet.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such process.
    #[error("no process `{program} {argument}` runs on the nodes of this cluster")]
    NotFound {
        /// The program.
        program: String,
        /// Its first argument.
        argument: String,
    },
    /// A file cannot be read; the process has ended.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} does not tell {what}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
}

/// Memory in KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Pages in memory.
    pub rss: u32,
    /// The same with shared pages divided among those who share them.
    pub pss: u32,
    /// The most that was ever in memory.
    pub peak: u32,
}

/// A running process.
#[derive(Clone, Copy, Debug)]
pub struct Process(i32);

/// The kernel counts CPU time for user space in hundredths of a second on every architecture that we run on.
const TICK: Duration = Duration::from_millis(10);

impl Process {
    /// The process of that program with that first argument below one of `inits`: the first processes of a cluster's
    /// nodes. Other clusters of this machine run the same programs.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn find(program: &str, argument: &str, inits: &[i32]) -> Result<Self, Error> {
        fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| is_called(*pid, program, argument).unwrap_or_default())
            .find(|pid| ancestors(*pid).any(|ancestor| inits.contains(&ancestor)))
            .map(Self)
            .ok_or_else(|| Error::NotFound {
                program: program.to_owned(),
                argument: argument.to_owned(),
            })
    }

    /// The process with that number.
    pub fn of(pid: i32) -> Self {
        Self(pid)
    }

    /// Its number.
    pub fn pid(self) -> i32 {
        self.0
    }

    /// CPU time since it started, of user and kernel.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn cpu(self) -> Result<Duration, Error> {
        let (path, text) = self.read("stat")?;
        ticks(&text).map(|ticks| TICK * ticks).ok_or(Error::Format {
            path,
            what: "CPU time",
        })
    }

    /// What it holds of memory now.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn memory(self) -> Result<Memory, Error> {
        let (status, text) = self.read("status")?;
        let of = |key: &str, what| {
            let path = status.clone();
            kibibytes(&text, key).ok_or(Error::Format { path, what })
        };
        let (rss, peak) = (of("VmRSS:", "VmRSS")?, of("VmHWM:", "VmHWM")?);
        let (rollup, smaps) = self.read("smaps_rollup")?;
        let pss = kibibytes(&smaps, "Pss:").ok_or(Error::Format {
            path: rollup,
            what: "Pss",
        })?;
        Ok(Memory { rss, pss, peak })
    }

    fn read(self, file: &str) -> Result<(PathBuf, String), Error> {
        let path = Path::new("/proc").join(self.0.to_string()).join(file);
        match fs::read_to_string(&path) {
            Ok(text) => Ok((path, text)),
            Err(source) => Err(Error::Read { path, source }),
        }
    }
}

fn is_called(pid: i32, program: &str, argument: &str) -> Option<bool> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let mut words = line.split(|byte| *byte == 0);
    let first = Path::new(std::str::from_utf8(words.next()?).ok()?);
    Some(first.file_name()? == program && words.next()? == argument.as_bytes())
}

/// Parents, from the nearest.
fn ancestors(pid: i32) -> impl Iterator<Item = i32> {
    std::iter::successors(Some(pid), |pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        parent(&stat).filter(|parent| *parent > 1)
    })
    .skip(1)
}

/// The fields of `stat` behind the name, which is in parentheses and may hold anything.
fn fields(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit_once(')')
        .map_or("", |(_, fields)| fields)
        .split_whitespace()
}

fn parent(stat: &str) -> Option<i32> {
    fields(stat).nth(1)?.parse().ok()
}

/// Fields 14 and 15 of proc(5): `utime` and `stime`.
fn ticks(stat: &str) -> Option<u32> {
    let mut times = fields(stat).skip(11);
    let user: u32 = times.next()?.parse().ok()?;
    let kernel: u32 = times.next()?.parse().ok()?;
    Some(user.saturating_add(kernel))
}

fn kibibytes(text: &str, key: &str) -> Option<u32> {
    text.lines()
        .find_map(|line| line.strip_prefix(key))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "77 (a) (b c) S 42 77 77 0 -1 4194560 900 0 3 0 31 12 0 0 20 0 3 0 5581 0 0";

    #[test]
    fn parent_and_cpu_time_are_read_behind_any_name() {
        assert_eq!(parent(STAT), Some(42));
        assert_eq!(ticks(STAT), Some(43));
        assert_eq!((parent("nonsense"), ticks("77 (a) S 1")), (None, None));
    }

    #[test]
    fn memory_is_read_in_kibibytes() {
        let text = "Name:\tapplink\nVmRSS:\t   18264 kB\nPss:  100 kB\n";
        assert_eq!(kibibytes(text, "VmRSS:"), Some(18264));
        assert_eq!(kibibytes(text, "Pss:"), Some(100));
        assert_eq!(kibibytes(text, "VmSwap:"), None);
    }

    #[test]
    fn this_process_is_found_below_its_parent_and_only_there() {
        let mut words = std::env::args();
        let program = words.next().unwrap();
        let name = Path::new(&program).file_name().unwrap().to_str().unwrap();
        let argument = words.next().unwrap_or_default();
        let own = i32::try_from(std::process::id()).unwrap();
        let parent = ancestors(own).next().unwrap();
        let found = Process::find(name, &argument, &[parent]).unwrap();
        assert!(found.cpu().is_ok());
        let memory = found.memory().unwrap();
        assert!(0 < memory.pss && memory.pss <= memory.rss);
        let nobody = Process::find(name, &argument, &[]).unwrap_err();
        assert!(nobody.to_string().contains(name), "{nobody}");
    }
}
