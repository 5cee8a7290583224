//! What the system says of this process and of the machine; nothing where it is no Linux.

/// Milliseconds that all threads of this process have run.
pub(crate) fn cpu_ms() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let times = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok());
    times.filter_map(|text| text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok())).sum::<f64>() / 1e6
}

/// Memory of this process that is in the machine's.
pub(crate) fn resident_mb() -> f64 {
    status("VmRSS:") * 1024.0 / 1e6
}

/// The most that it has been.
pub(crate) fn peak_rss_gb() -> f64 {
    (status("VmHWM:") * 1024.0 / 1e7).round() / 100.0
}

/// Kibibytes.
fn status(name: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().next().and_then(|kibibytes| kibibytes.parse().ok()).unwrap_or(0.0)
}

/// The instruction sets that decide figures, of those that the processor has.
#[must_use]
pub fn instruction_sets() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = cpu.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    let has = |name: &&str| flags.split_whitespace().any(|flag| flag == *name);
    ["avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "sha_ni"].into_iter().filter(has).collect::<Vec<_>>().join(" ")
}
