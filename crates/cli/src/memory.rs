//! This machine's memory: what a new run can have, and what this process has had at its highest.

use std::fs;

/// Bytes that can be had without swapping: what the kernel calls available, or what is left of a container's limit.
/// None where the system does not say.
pub fn free() -> Option<u64> {
    let machine = kib(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:");
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let second = groups.lines().find_map(|l| l.strip_prefix("0::")).map(|path| format!("/sys/fs/cgroup{}", path.trim_end_matches('/')));
    let places = second.into_iter().chain(["/sys/fs/cgroup".to_string()]);
    let limits = places.filter_map(|at| left(&at, "memory.max", "memory.current", "inactive_file"));
    let first = left("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file");
    machine.into_iter().chain(limits).chain(first).min()
}

/// What is left of a control group's limit; pages of files that nobody uses do not count as used.
fn left(group: &str, limit: &str, used: &str, cache: &str) -> Option<u64> {
    let number = |file: &str| fs::read_to_string(format!("{group}/{file}")).ok()?.trim().parse::<u64>().ok();
    let stat = fs::read_to_string(format!("{group}/memory.stat")).unwrap_or_default();
    let cached = stat.lines().find_map(|l| l.strip_prefix(cache)?.trim().parse::<u64>().ok()).unwrap_or(0);
    Some(number(limit)?.saturating_sub(number(used)?.saturating_sub(cached)))
}

/// The most that this process has had in memory, in bytes. None where the system does not say.
pub fn peak() -> Option<u64> {
    kib(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// A number of a file of /proc: `name:   1234 kB`.
fn kib(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|l| l.strip_prefix(name))?;
    Some(1024 * rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_proc_are_read() {
        assert_eq!(kib("VmPeak:\t  12 kB\nVmHWM:\t   34 kB\n", "VmHWM:"), Some(34 << 10));
        assert_eq!(kib("VmHWM: many", "VmHWM:"), None);
        #[cfg(target_os = "linux")]
        {
            let held = peak().unwrap();
            assert!(free().unwrap() > 0 && held > 1 << 20, "{held}");
            let more = vec![1u8; 64 << 20];
            assert!(peak().unwrap() > held.max(64 << 20) && more.iter().all(|b| *b == 1));
        }
    }
}
