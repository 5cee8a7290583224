//! What the system says of this process and of the machine.

use std::time::Duration;

pub use ::model::bench::instruction_sets;

/// Processor time of this process so far, all threads, its own and the kernel's for it.
pub fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in parentheses may hold blanks; utime and stime are the twelfth and thirteenth after it, in hundredths of a second.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// Begins to count the most memory anew. Where the system refuses, what came before counts too.
pub fn forget_peak_rss() {
    let _refused = std::fs::write("/proc/self/clear_refs", "5");
}

/// The most memory that this process has held, in gigabytes.
pub fn peak_rss_gb() -> f64 {
    status("VmHWM:") / 1e6
}

fn status(name: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().next().and_then(|kilobytes| kilobytes.parse().ok()).unwrap_or(0.0)
}
