//! What is measured.
use super::Figure;
use serde_json::Value;

/// All of it, in the order of the tables. Those of one name after the other would overwrite each other: names differ.
pub const FIGURES: &[Figure] = &[
    Figure {
        name: "append",
        what: "durable appends, 512 records of 128 B per request",
        arguments: "bench append --seconds 8",
        front: true,
        measured: append,
    },
    Figure {
        name: "append-kib",
        what: "the same, 64 records of 1 KiB",
        arguments: "bench append --record-bytes 1024 --batch 64 --seconds 8",
        front: false,
        measured: append,
    },
    Figure {
        name: "append-single",
        what: "one record of 128 B per request, many in flight",
        arguments: "bench append --batch 1 --in-flight 512 --seconds 8",
        front: true,
        measured: append,
    },
    Figure {
        name: "latency",
        what: "one append in flight: in process at the leader; gRPC, leader in another process",
        arguments: "bench latency --seconds 8",
        front: true,
        measured: latency,
    },
    Figure {
        name: "latency-rate",
        what: "the same at 500 appends a second, counted from when they were due",
        arguments: "bench latency --rate 500 --seconds 8",
        front: false,
        measured: latency,
    },
    Figure {
        name: "read",
        what: "a subscriber, 128 B: in process from memory, from page cache; over gRPC from memory, from page cache",
        arguments: "bench read",
        front: false,
        measured: read,
    },
    Figure {
        name: "seen",
        what: "from when an append is due, at 500 a second, until a subscriber at another node has it",
        arguments: "bench read --subscribers 1 --records 100000 --seconds 8",
        front: true,
        measured: seen,
    },
    Figure {
        name: "cursors",
        what: "committing named cursors: processor of the nodes per commit, with 10 and with 10 000 of them",
        arguments: "bench cursors",
        front: false,
        measured: cursors,
    },
    Figure {
        name: "failover",
        what: "the process of a leader is killed: longest gap without acknowledgements, and until another node leads",
        arguments: "bench failover --rounds 9",
        front: true,
        measured: failover,
    },
    Figure {
        name: "failover-stopped",
        what: "a node is told to end, as in a rolling restart: the same",
        arguments: "bench failover --how stopped --rounds 9",
        front: true,
        measured: failover,
    },
    Figure {
        name: "restart",
        what: "a node with 10 GiB of records: ready after a clean stop, after kill -9; memory then",
        arguments: "bench restart --bytes 10GiB --nodes 1",
        front: false,
        measured: restart,
    },
    Figure {
        name: "idle",
        what: "three idle nodes, 64 partitions: processor of all of them, in percent of one core",
        arguments: "bench idle",
        front: false,
        measured: idle,
    },
    Figure {
        name: "growth",
        what: "1, 16, 128, 1024 partitions: memory of three nodes, idle processor, throughput",
        arguments: "bench growth",
        front: false,
        measured: growth,
    },
    Figure {
        name: "partition",
        what: "throughput under partition: the picture",
        arguments: "bench partition",
        front: false,
        measured: partition,
    },
];

fn number(value: &Value) -> Option<f64> {
    value.as_f64()
}

/// Three significant digits, thousands as k, millions as M.
fn short(number: f64) -> String {
    match number {
        n if n >= 1e6 => format!("{:.2} M", n / 1e6),
        n if n >= 1e4 => format!("{:.0} k", n / 1e3),
        n if n >= 1e3 => format!("{:.1} k", n / 1e3),
        n if n >= 100.0 => format!("{n:.0}"),
        n if n >= 10.0 => format!("{n:.1}"),
        n => format!("{n:.2}"),
    }
}

/// `p50 0.17, p99 0.34 ms`
fn times(times: &Value, names: &[&str]) -> Option<String> {
    let one = |name: &&str| Some(format!("{} {}", name.replace("p999", "p99.9"), short(number(&times[*name])?)));
    Some(format!("{} ms", names.iter().map(one).collect::<Option<Vec<_>>>()?.join(", ")))
}

fn append(result: &Value) -> Option<String> {
    let (records, bytes) = (number(&result["recordsPerSecond"])?, number(&result["megabytesPerSecond"])?);
    let micros = number(&result["cpuMicrosPerRecord"])?;
    let ack = times(&result["ackMs"], &["p50", "p99"])?;
    Some(format!("{} records/s, {bytes:.0} MB/s; {} us of processor a record; {ack}", short(records), short(micros)))
}

fn latency(result: &Value) -> Option<String> {
    let way = |name: &str| times(&result[name], &["p50", "p99", "p999"]);
    Some(format!("{}; {}", way("inProcessMs")?, way("grpcOtherProcessMs")?))
}

fn read(result: &Value) -> Option<String> {
    let rows = result["rows"].as_array()?.iter().filter(|row| row["subscribers"] == 1);
    let row = |row: &Value| {
        let bytes = number(&row["megabytesPerSecondEach"])?;
        Some(format!("{} records/s ({bytes:.0} MB/s)", short(number(&row["recordsPerSecondEach"])?)))
    };
    Some(rows.map(row).collect::<Option<Vec<_>>>()?.join("; "))
}

fn seen(result: &Value) -> Option<String> {
    times(&result["seenMs"], &["p50", "p99", "p999"])
}

fn cursors(result: &Value) -> Option<String> {
    let rows = result["rows"].as_array()?;
    let row = |row: &Value| Some(format!("{} us", short(number(&row["nodeMicrosPerCommit"])?)));
    Some([rows.first()?, rows.last()?].map(row).into_iter().collect::<Option<Vec<_>>>()?.join("; "))
}

fn failover(result: &Value) -> Option<String> {
    let gap = times(&result["gapMs"], &["p50", "p99", "max"])?;
    let elected = times(&result["electedMs"], &["p50", "max"])?;
    let (acknowledged, lost) = (number(&result["acknowledged"])?, number(&result["lost"])?);
    Some(format!("{gap}; led again after {elected}; {lost} of {} lost", short(acknowledged)))
}

fn restart(result: &Value) -> Option<String> {
    let rows = result["rows"].as_array()?;
    let of = |how: &str, name: &str| {
        let mut values: Vec<f64> =
            rows.iter().filter(|row| row["how"] == how).map(|row| number(&row[name])).collect::<Option<_>>()?;
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    };
    let seconds = |how| Some(format!("{:.2} s", of(how, "readyMs")? / 1e3));
    Some(format!("{}; {}; {} MB", seconds("stopped")?, seconds("killed")?, short(of("killed", "residentMb")?)))
}

fn idle(result: &Value) -> Option<String> {
    let (percent, resident) = (number(&result["percentOfACore"])?, number(&result["residentMb"])?);
    Some(format!("{percent:.1} %; {} MB resident", short(resident)))
}

fn growth(result: &Value) -> Option<String> {
    let rows = result["rows"].as_array()?;
    let column = |name: &str| {
        let cells = rows.iter().map(|row| Some(short(number(&row[name])?)));
        Some(cells.collect::<Option<Vec<_>>>()?.join(", "))
    };
    let (resident, percent) = (column("residentMb")?, column("percentOfACore")?);
    let failed = result["failed"].as_array()?.iter().filter_map(|failed| failed["partitions"].as_u64());
    let failed: String = failed.map(|count| format!("; {count} could not be measured")).collect();
    Some(format!("{resident} MB; {percent} %; {} records/s{failed}", column("recordsPerSecond")?))
}

fn partition(result: &Value) -> Option<String> {
    let scenarios = result["scenarios"].as_array()?;
    let sum = |of: fn(&Value) -> &Value| scenarios.iter().map(|one| number(of(one))).sum::<Option<f64>>();
    let (acknowledged, lost) = (sum(|one| &one["records"]["acknowledged"])?, sum(|one| &one["checked"]["lost"])?);
    Some(format!("{} scenarios; {lost} of {} acknowledged records lost", scenarios.len(), short(acknowledged)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeSet;

    #[test]
    fn results_have_names_of_their_own() {
        let names: BTreeSet<_> = FIGURES.iter().map(|figure| figure.name).collect();
        assert_eq!(names.len(), FIGURES.len());
    }

    #[test]
    fn numbers_have_three_digits() {
        assert_eq!(
            [2_694_123.0, 328_456.0, 4_321.0, 345.0, 12.34, 0.3456].map(short),
            ["2.69 M", "328 k", "4.3 k", "345", "12.3", "0.35"]
        );
    }

    #[test]
    fn what_is_shown_is_what_was_measured() {
        let times = json!({ "p50": 0.171, "p90": 0.2, "p99": 0.344, "p999": 0.5, "max": 9.0 });
        let result = json!({ "inProcessMs": times, "grpcOtherProcessMs": times });
        assert_eq!(
            latency(&result).as_deref(),
            Some("p50 0.17, p99 0.34, p99.9 0.50 ms; p50 0.17, p99 0.34, p99.9 0.50 ms")
        );
        assert_eq!(latency(&json!({})), None);
        let rows = json!({ "rows": [
            { "how": "stopped", "readyMs": 510.0, "residentMb": 40.0 }, { "how": "killed", "readyMs": 3000.0, "residentMb": 61.0 },
            { "how": "killed", "readyMs": 1000.0, "residentMb": 60.0 }, { "how": "killed", "readyMs": 2000.0, "residentMb": 62.0 },
        ]});
        assert_eq!(restart(&rows).as_deref(), Some("0.51 s; 2.00 s; 61.0 MB"), "medians");
    }
}
