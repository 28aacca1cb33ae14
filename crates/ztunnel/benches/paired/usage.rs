//! What a process has used, by the kernel's account.

use nix::unistd::{Pid, SysconfVar, sysconf};

/// CPU time of a process so far, seconds.
pub fn cpu(pid: Pid) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // After the name, which is in brackets and may hold anything: state is field 3, utime 14 and stime 15.
    let after = stat.rsplit(')').next().unwrap();
    let ticks: u64 = after
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().unwrap())
        .sum();
    let hertz = sysconf(SysconfVar::CLK_TCK).unwrap().unwrap();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let seconds = ticks as f64 / hertz as f64;
    seconds
}

/// Memory that is resident, MB (10^6 bytes).
pub fn resident(pid: Pid) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let kilobytes: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap();
    kilobytes * 1024.0 / 1e6
}
