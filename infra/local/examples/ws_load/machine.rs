//! What processes use, from `/proc`: what can't be read counts as nothing.

use std::fs;

/// Of the figures in `/proc/PID/stat`: 100 on every Linux that programs see, whatever the kernel's own clock.
const TICKS_PER_SECOND: f64 = 100.0;

/// Clock ticks of CPU time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ticks(u64);

impl Ticks {
    pub(crate) fn own() -> Self {
        Self(ticks("self"))
    }

    pub(crate) fn seconds_since(self, before: Self) -> f64 {
        self.0.saturating_sub(before.0) as f64 / TICKS_PER_SECOND
    }
}

/// What some processes use together.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    pub cpu: Ticks,
    pub rss_kib: u64,
    pub threads: u64,
    pub context_switches: u64,
}

impl Usage {
    pub(crate) fn of(pids: &[u32]) -> Self {
        let mut sum = Self::default();
        for pid in pids {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            sum.cpu.0 += ticks(&pid.to_string());
            sum.rss_kib += field(&status, "VmRSS:");
            sum.threads += field(&status, "Threads:");
            for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
                let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
                sum.context_switches +=
                    field(&status, "voluntary_ctxt_switches:") + field(&status, "nonvoluntary_ctxt_switches:");
            }
        }
        sum
    }
}

/// utime and stime: the 14th and 15th field of `stat`, counted behind the name, which may hold anything.
fn ticks(process: &str) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let rest = stat.rsplit(')').next().unwrap_or_default();
    rest.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or(0)
}
