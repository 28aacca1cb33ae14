//! Programs that run in the background: how they are started, recognised and ended.
//!
//! Two kinds. A [`Tethered`] one lives as long as the value, and dies with this process however
//! that ends. A detached one outlives this process: it is recorded as a [`Record`], and carries a
//! mark in its environment, so that it is found even when this process dies before recording it.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::command;
use crate::files;

/// The environment variable that marks every detached process with its owner.
const MARK: &str = "APPLINK_E2E_OWNED_BY";
/// How far, in percent, the heap of a Go program may grow before it looks for garbage (100 unless told): a cluster on one
/// machine has memory to spare, and no processor time.
const HEAP_GROWTH: (&str, &str) = ("GOGC", "400");

/// Kills its program when its standard input closes, and ends (with its group) only after it.
const TETHER: &str = r#"exec 3<&0; "$@" 3<&- & program=$!
{ read -r _ <&3; kill -KILL $program; } & wait $program; kill -KILL 0"#;

/// A process could not be started or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It did not start.
    #[error("cannot start {name}")]
    Start {
        /// The program.
        name: String,
        /// The reason.
        source: io::Error,
    },
    /// It ended, or never did what was waited for.
    #[error("{what} did not happen within {seconds} s{log}")]
    Deadline {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
        /// The end of the log, when there is one.
        log: String,
    },
    /// Processes survived SIGKILL.
    #[error("processes {0:?} do not die")]
    Immortal(Vec<i32>),
    /// A file could not be read or written.
    #[error(transparent)]
    Files(#[from] files::Error),
}

/// A program that dies with the value.
#[derive(Debug)]
pub struct Tethered {
    child: Child,
}

impl Tethered {
    /// Starts a program with its output in `log`.
    pub fn start(program: &Path, arguments: &[String], log: &Path) -> Result<Self, Error> {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", TETHER, "sh"])
            .arg(program)
            .args(arguments);
        logged(&mut shell, log)?;
        let child = shell
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|source| Error::Start {
                name: program.display().to_string(),
                source,
            })?;
        Ok(Self { child })
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Tethered {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // The shell kills its group, itself included; its status says nothing new.
        let _ = self.child.wait();
    }
}

/// A process as it can be told from a later one with the same number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What it is for, unique in its cluster.
    pub name: String,
    /// Its number.
    pub pid: i32,
    /// Clock ticks since boot at its start (`/proc/<pid>/stat`, field 22).
    pub started: u64,
}

impl Record {
    /// The process that has this number now.
    pub fn of(name: &str, pid: i32) -> Self {
        Self {
            name: name.to_owned(),
            pid,
            started: start_time(pid).unwrap_or_default(),
        }
    }

    /// Whether that very process still runs.
    pub fn is_running(&self) -> bool {
        start_time(self.pid) == Some(self.started)
    }
}

/// Starts a command that outlives this process, in a session of its own, marked as `owner`'s.
pub fn detach(
    name: &str,
    command: &mut Command,
    owner: &Path,
    log: &Path,
) -> Result<Record, Error> {
    logged(command, log)?;
    let start = |source| Error::Start {
        name: name.to_owned(),
        source,
    };
    let child = command
        .env(MARK, owner)
        .env(HEAP_GROWTH.0, HEAP_GROWTH.1)
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(start)?;
    let pid = i32::try_from(child.id()).map_err(|_| start(io::ErrorKind::InvalidData.into()))?;
    reap(child);
    Ok(Record::of(name, pid))
}

/// Waits for a child in a thread of its own, so that it never stays as a zombie.
fn reap(mut child: Child) {
    std::thread::spawn(move || child.wait());
}

fn logged(command: &mut Command, log: &Path) -> Result<(), Error> {
    if let Some(folder) = log.parent() {
        files::create_dir(folder)?;
    }
    let file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .map_err(files::at("open", log))?;
    let copy = file.try_clone().map_err(files::at("open", log))?;
    command.stdout(file).stderr(copy);
    Ok(())
}

/// When a process started; nothing for one that is gone or a zombie.
fn start_time(pid: i32) -> Option<u64> {
    started(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Field 22 of `/proc/<pid>/stat`; nothing for a zombie whose threads have all ended (fields 3 and 20). One that is killed
/// keeps its files and ports until the last of them has.
fn started(stat: &str) -> Option<u64> {
    // The name in parentheses may hold anything, so fields are counted from its end.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let threads: u32 = fields.nth(16)?.parse().ok()?;
    let started = fields.nth(1)?.parse().ok()?;
    (state != "Z" || threads > 1).then_some(started)
}

/// Every living process that carries `owner`'s mark, this one and its ancestors excepted.
pub fn marked(owner: &Path) -> Vec<i32> {
    let wanted = [MARK.as_bytes(), b"=", owner.as_os_str().as_encoded_bytes()].concat();
    let own = ancestors();
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| !own.contains(pid) && start_time(*pid).is_some())
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
                environment
                    .split(|byte| *byte == 0)
                    .any(|variable| variable == wanted)
            })
        })
        .collect()
}

fn ancestors() -> Vec<i32> {
    let mut chain = vec![Pid::this().as_raw()];
    while let Some(parent) = chain.last().and_then(|pid| parent(*pid)) {
        chain.push(parent);
    }
    chain
}

fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let parent = stat
        .rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()?;
    (parent > 1).then_some(parent)
}

/// Kills every process that carries `owner`'s mark and waits until all are gone; how many.
///
/// The first process of a namespace loses its environment before it has ended the others, so
/// those once seen are waited for by number.
pub fn kill_marked(owner: &Path) -> Result<usize, Error> {
    let mut seen = std::collections::BTreeMap::new();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        for pid in marked(owner) {
            seen.entry(pid).or_insert_with(|| Record::of("marked", pid));
            // One that ended by itself meanwhile is as good.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let living: Vec<i32> = (seen.values().filter(|record| record.is_running()))
            .map(|record| record.pid)
            .collect();
        if living.is_empty() {
            return Ok(seen.len());
        }
        if Instant::now() > deadline {
            return Err(Error::Immortal(living));
        }
        pause();
    }
}

/// Sends a signal to a recorded process, if it still runs.
pub fn signal(record: &Record, signal: Signal) {
    if record.is_running() {
        // It may end in between; then there is nobody to tell.
        let _ = kill(Pid::from_raw(record.pid), signal);
    }
}

/// Asks the children of a recorded process to end: what entered a namespace for a program waits
/// for it and passes no signal on.
pub fn terminate_children(record: &Record) {
    let Ok(entries) = fs::read_dir("/proc") else {
        return;
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| parent(*pid) == Some(record.pid))
        .for_each(|pid| {
            // It may end in between; then there is nobody to tell.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        });
}

/// Asks until the answer is yes; how often and how long is the only place with a sleep.
pub fn eventually(
    what: &str,
    limit: Duration,
    log: Option<&Path>,
    mut happened: impl FnMut() -> bool,
) -> Result<(), Error> {
    let deadline = Instant::now() + limit;
    while !happened() {
        if Instant::now() > deadline {
            let log = log.and_then(|path| files::read(path).ok());
            return Err(Error::Deadline {
                what: what.to_owned(),
                seconds: limit.as_secs(),
                log: log.map_or_else(String::new, |text| {
                    format!("; its log ends:\n{}", command::tail(&text, 15))
                }),
            });
        }
        pause();
    }
    Ok(())
}

fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}

/// A new folder for as long as this process lives; those of dead processes are removed.
pub fn temporary_folder(purpose: &str) -> Result<PathBuf, Error> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let parent = std::env::temp_dir().join("applink-e2e");
    files::create_dir(&parent)?;
    for entry in fs::read_dir(&parent)
        .map_err(files::at("list", &parent))?
        .flatten()
    {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|name| name.split('-').next()?.parse().ok());
        if owner.is_some_and(|pid: i32| !Path::new(&format!("/proc/{pid}")).exists()) {
            // Two processes may sweep the same folder at once.
            let _ = files::remove_dir(&entry.path());
        }
    }
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = parent.join(format!("{}-{purpose}-{number}", std::process::id()));
    files::create_dir(&folder)?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_ended_when_its_last_thread_has() {
        let stat = |state: &str, threads: u32| {
            let middle = ["1"; 16].join(" ");
            format!("7 (kube (api) server) {state} {middle} {threads} 0 4711 1 1")
        };
        assert_eq!(started(&stat("S", 1)), Some(4711));
        assert_eq!(started(&stat("Z", 3)), Some(4711), "others still end");
        assert_eq!(started(&stat("Z", 1)), None);
        assert_eq!(started("7 (half"), None);
    }

    #[test]
    fn a_tethered_program_dies_with_the_value() {
        let folder = temporary_folder("tether").unwrap();
        let log = folder.join("log");
        let script = ["-c".to_owned(), "echo $$; sleep 1000".to_owned()];
        let mut program = Tethered::start(Path::new("/bin/sh"), &script, &log).unwrap();
        let pid = || {
            files::read(&log)
                .unwrap()
                .lines()
                .next()?
                .parse::<i32>()
                .ok()
        };
        eventually("a pid", Duration::from_secs(5), None, || pid().is_some()).unwrap();
        assert!(program.is_running() && start_time(pid().unwrap()).is_some());
        drop(program);
        eventually("its end", Duration::from_secs(5), None, || {
            start_time(pid().unwrap()).is_none()
        })
        .unwrap();
        files::remove_dir(&folder).unwrap();
    }

    #[test]
    fn a_tether_notices_the_end_of_its_program() {
        let folder = temporary_folder("end").unwrap();
        let mut program =
            Tethered::start(Path::new("/bin/true"), &[], &folder.join("log")).unwrap();
        eventually("its end", Duration::from_secs(5), None, || {
            !program.is_running()
        })
        .unwrap();
        files::remove_dir(&folder).unwrap();
    }

    #[test]
    fn marked_processes_are_found_with_their_children_and_killed() {
        let folder = temporary_folder("mark").unwrap();
        let mut shell = command::command("sh", ["-c", "sleep 1000 & sleep 1000"]);
        let record = detach("shell", &mut shell, &folder, &folder.join("log")).unwrap();
        assert!(record.is_running());
        eventually("three processes", Duration::from_secs(5), None, || {
            marked(&folder).len() == 3
        })
        .unwrap();
        assert_eq!(marked(Path::new("/another")), [] as [i32; 0]);
        assert_eq!(kill_marked(&folder).unwrap(), 3);
        assert!(!record.is_running() && marked(&folder).is_empty());
        files::remove_dir(&folder).unwrap();
    }

    #[test]
    fn a_later_process_with_the_same_number_is_told_apart() {
        let pid = Pid::this().as_raw();
        let own = Record {
            name: "own".to_owned(),
            pid,
            started: start_time(pid).unwrap(),
        };
        assert!(own.is_running());
        assert!(
            !Record {
                started: own.started + 1,
                ..own
            }
            .is_running()
        );
    }
}
