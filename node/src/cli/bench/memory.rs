//! How much memory the nodes use.

/// What of a process is in memory. Bytes; `None` where the system does not tell.
pub(super) fn resident(pid: u32) -> Option<u64> {
    of_status(&std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?, "VmRSS:")
}

/// Of all these processes together.
pub(super) fn resident_of_all(pids: &[u32]) -> Option<u64> {
    pids.iter().map(|pid| resident(*pid)).sum()
}

/// Bytes as MB, for a report.
pub(super) fn megabytes(bytes: Option<u64>) -> Option<f64> {
    bytes.map(|bytes| (bytes as f64 / 1e5).round() / 10.0)
}

fn of_status(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_found_in_what_the_system_says() {
        assert_eq!(of_status("Name:\tx\nVmHWM:\t  200 kB\nVmRSS:\t  100 kB\n", "VmRSS:"), Some(102_400));
        assert_eq!(of_status("Name:\tx\n", "VmRSS:"), None);
        assert_eq!(megabytes(Some(1_260_000)), Some(1.3));
    }
}
