//! Gives memory back after work that is not done all the time: an install parses megabytes of definitions and runs through
//! code that a settled operator never touches. Measured on two nodes, release build: of 29 MB resident 15 were pages of the
//! program's code, and 5 free heap that glibc kept.
//!
//! Nothing here changes what the program computes; where it is not Linux with glibc it does less, or nothing.

use std::fs;

use tracing::debug;

/// One line of `/proc/self/maps`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mapping {
    start: usize,
    end: usize,
}

/// Hands free heap, and pages of code that have not been used again since, back to the kernel.
pub fn give_back() {
    trim_heap();
    let Ok(program) = std::env::current_exe() else {
        return;
    };
    let Ok(maps) = fs::read_to_string("/proc/self/maps") else {
        return;
    };
    let mut bytes = 0;
    for mapping in code(&maps, &program.to_string_lossy()) {
        forget(mapping);
        bytes += mapping.end - mapping.start;
    }
    debug!(bytes, "gave memory back");
}

#[cfg(target_env = "gnu")]
#[allow(
    unsafe_code,
    reason = "malloc_trim(3) has no safe form; it takes a number and touches nothing but free memory of the allocator"
)]
fn trim_heap() {
    // SAFETY: may be called at any time from any thread (malloc_trim(3): MT-Safe).
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(target_env = "gnu"))]
fn trim_heap() {}

/// Takes a range of the program's code out of this process's memory. It is read again, from the page cache, as it is used.
#[allow(
    unsafe_code,
    reason = "madvise(2) has no safe form; the range is a mapping of the program's file that nobody can have written to"
)]
fn forget(mapping: Mapping) {
    let length = mapping.end - mapping.start;
    // SAFETY: the range is one whole mapping of this process, private, backed by the program's file, and not writable, so
    // its pages equal the file's: code is linked without relocations in it. What is dropped is read from there again.
    unsafe {
        libc::madvise(
            std::ptr::without_provenance_mut(mapping.start),
            length,
            libc::MADV_DONTNEED,
        );
    }
}

/// Mappings of the program's code: executable, private and not writable.
fn code(maps: &str, program: &str) -> Vec<Mapping> {
    maps.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (range, rights) = (words.next()?, words.next()?);
            let path = words.nth(3)?;
            if rights != "r-xp" || path != program || words.next().is_some() {
                return None;
            }
            let (start, end) = range.split_once('-')?;
            Some(Mapping {
                start: usize::from_str_radix(start, 16).ok()?,
                end: usize::from_str_radix(end, 16).ok()?,
            })
        })
        .filter(|mapping| mapping.start < mapping.end)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
55d0a0000000-55d0a05df000 r--p 00000000 00:2f 77   /usr/local/bin/applink
55d0a05df000-55d0a1ad2000 r-xp 005de000 00:2f 77   /usr/local/bin/applink
55d0a1ad2000-55d0a1b7e000 r--p 01ad1000 00:2f 77   /usr/local/bin/applink
55d0a1b7e000-55d0a1b83000 rw-p 01b7d000 00:2f 77   /usr/local/bin/applink
55d0a3000000-55d0a3400000 rw-p 00000000 00:00 0    [heap]
7f0000000000-7f0000156000 r-xp 00026000 00:2f 99   /lib/x86_64-linux-gnu/libc.so.6
7f0001000000-7f0001001000 r-xp 00000000 00:00 0    [vdso]
7f0002000000-7f0002001000 r-xp 00000000 00:2f 77   /usr/local/bin/applink (deleted)
";

    #[test]
    fn only_code_of_the_program_itself_is_forgotten() {
        let found = code(MAPS, "/usr/local/bin/applink");
        let expected = Mapping {
            start: 0x55d0_a05d_f000,
            end: 0x55d0_a1ad_2000,
        };
        assert_eq!(found, [expected]);
        assert_eq!(code(MAPS, "/usr/local/bin/other"), []);
        assert_eq!(code("nonsense\n\nffff r-xp", "x"), []);
    }

    #[test]
    fn this_process_holds_less_afterwards_and_goes_on() {
        let resident = || {
            let text = fs::read_to_string("/proc/self/status").unwrap();
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("RssFile:"))
                .unwrap();
            let number: usize = line.split_whitespace().next().unwrap().parse().unwrap();
            number
        };
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let program = std::env::current_exe().unwrap();
        let all = code(&maps, &program.to_string_lossy());
        assert_eq!(all.len(), 1, "{maps}");
        let before = resident();
        give_back();
        let after = resident();
        assert!(after < before, "{before} kB before, {after} kB after");
        assert_eq!(code(MAPS, "/usr/local/bin/applink").len(), 1);
    }
}
