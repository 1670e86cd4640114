//! Who used the processor: the client, the nodes, or something that has no business in a bench.
use super::latencies::rounded;
use serde::Serialize;
use std::{fmt, ops::Add};

/// What `/proc` counts processor time in: USER_HZ, which is 100 on every architecture Linux supports today.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time since some moment in the past. Ticks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    client: u64,
    nodes: u64,
    machine: u64,
}

/// Processor time between two moments. Seconds, summed over cores.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CpuSeconds {
    client: f64,
    pub(super) nodes: f64,
    /// Whatever else ran on the machine, its kernel's own work for the bench included.
    others: f64,
}

impl Clock {
    /// Reads the clocks, where the system has them.
    pub(super) fn read(nodes: &[u32]) -> Option<Self> {
        let sum = nodes.iter().map(|pid| of_process(&pid.to_string())).sum::<Option<u64>>()?;
        let machine = of_machine(&std::fs::read_to_string("/proc/stat").ok()?)?;
        Some(Clock { client: of_process("self")?, nodes: sum, machine })
    }

    /// What was used since `before`.
    pub(super) fn since(self, before: Clock) -> CpuSeconds {
        let seconds = |now: u64, then: u64| now.saturating_sub(then) as f64 / TICKS_PER_SECOND;
        let (client, nodes) = (seconds(self.client, before.client), seconds(self.nodes, before.nodes));
        let others = (seconds(self.machine, before.machine) - client - nodes).max(0.0);
        CpuSeconds { client: rounded(client), nodes: rounded(nodes), others: rounded(others) }
    }
}

impl CpuSeconds {
    /// Client and nodes together.
    pub(super) fn bench(&self) -> f64 {
        self.client + self.nodes
    }
}

impl Add for CpuSeconds {
    type Output = CpuSeconds;
    fn add(self, other: CpuSeconds) -> CpuSeconds {
        let CpuSeconds { client, nodes, others } = other;
        CpuSeconds { client: self.client + client, nodes: self.nodes + nodes, others: self.others + others }
    }
}

impl fmt::Display for CpuSeconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CpuSeconds { client, nodes, others } = self;
        write!(
            f,
            "processor time: nodes {nodes:.1} s, client {client:.1} s, everything else on this machine {others:.1} s"
        )
    }
}

fn of_process(pid: &str) -> Option<u64> {
    user_and_system(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Fields 14 and 15 of `/proc/PID/stat`. The second field, the name, is in parentheses and may hold anything.
fn user_and_system(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// The first line of `/proc/stat` without its idle times: user, nice, system, idle, iowait, irq, softirq, steal.
fn of_machine(stat: &str) -> Option<u64> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let times: Vec<u64> = line.split_ascii_whitespace().map_while(|word| word.parse().ok()).collect();
    let busy = |at: usize| times.get(at).copied();
    Some(busy(0)? + busy(1)? + busy(2)? + busy(5)? + busy(6)? + busy(7)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "4242 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 70 8 0 0 20 0 1 0 12345 1 1";
        assert_eq!(user_and_system(stat), Some(78));
    }

    #[test]
    fn idle_times_do_not_count() {
        assert_eq!(of_machine("cpu  10 20 30 4000 500 6 7 8 0 0\ncpu0 1 2 3\n"), Some(81));
        assert_eq!(of_machine("nothing"), None);
    }
}
