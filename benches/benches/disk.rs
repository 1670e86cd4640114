//! Ways to make a batch durable in a file, against each other: what decision 8 rests on.
//!
//! One turn writes batches of one size, one after the other, each durable before the next begins, as the write-ahead log
//! does: into a fresh file per writer, at the byte where the last batch ended. All ways take turns, several rounds of
//! them, so that all see the same machine. What counts is p10, the batch that nobody disturbed, and the processor time of
//! a KiB in the better rounds: neighbours who take the processor away show in p50 and p99 first. Ratios are to the first way.
//!
//! ```text
//! cargo bench -p benches --bench disk                  # everything, about two minutes
//! cargo bench -p benches --bench disk -- 65536 1       # batches of 64 KiB, one writer
//! ```
//!
//! The files are in cargo's folder for such things, below `target/`; `CORDUROY_BENCH_DIR` names another place.
#[cfg(target_os = "linux")]
mod ways {
    use corduroy_benches::value;
    use rustix::{
        fs::{Advice, FallocateFlags, OFlags, fadvise, fallocate},
        io::{Errno, ReadWriteFlags},
    };
    use std::{
        fs::{File, OpenOptions},
        io::{self, IoSlice},
        num::NonZeroU64,
        os::unix::fs::{FileExt as _, OpenOptionsExt as _},
        path::{Path, PathBuf},
        sync::Barrier,
        thread,
        time::{Duration, Instant},
    };

    /// What direct writes must be aligned to: offset, length and memory.
    const BLOCK: usize = 4096;
    /// Longest turn of one way.
    const TURN: Duration = Duration::from_millis(120);
    /// Most bytes a writer writes in a turn.
    const TURN_BYTES: u64 = 32 << 20;
    /// Turns of each way.
    const ROUNDS: usize = 7;
    /// A batch ends where its last frame ends, at a multiple of 8 and seldom of a block.
    const ODD: usize = 40;
    /// Writes that copy into no page of their own.
    const DONTCACHE: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);

    /// A way to write.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Way {
        name: &'static str,
        /// Zeros are written, and synced, before the batches come; else the space is reserved.
        zeroed: bool,
        /// Past the page cache; each write is a sync, too.
        direct: bool,
        /// Flags of each write.
        flags: ReadWriteFlags,
        /// A sync of its own after the write.
        sync: bool,
        /// Bytes behind the end that stay in the page cache; what is further back is given to others.
        keep: Option<u64>,
    }

    const RESERVED: Way = Way {
        name: "reserved, fdatasync",
        zeroed: false,
        direct: false,
        flags: ReadWriteFlags::empty(),
        sync: true,
        keep: None,
    };
    const ZEROED: Way = Way { name: "zeroed, fdatasync", zeroed: true, ..RESERVED };

    const WAYS: [Way; 9] = [
        RESERVED,
        Way { name: "reserved, RWF_DSYNC", flags: ReadWriteFlags::DSYNC, sync: false, ..RESERVED },
        Way { name: "reserved, keeps 4 MiB", keep: Some(4 << 20), ..RESERVED },
        Way { name: "reserved, keeps 16 MiB", keep: Some(16 << 20), ..RESERVED },
        Way { name: "reserved, RWF_DONTCACHE", flags: DONTCACHE, ..RESERVED },
        Way { name: "reserved, direct", direct: true, sync: false, ..RESERVED },
        ZEROED,
        Way { name: "zeroed, RWF_DSYNC", flags: ReadWriteFlags::DSYNC, sync: false, ..ZEROED },
        Way { name: "zeroed, direct", direct: true, sync: false, ..ZEROED },
    ];

    /// What a turn was like.
    struct Turn {
        bytes: u64,
        /// Processor time of the writers.
        busy: Duration,
        each: Vec<Duration>,
    }

    pub(super) fn main() {
        let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
        let sizes = numbers.first().map_or(vec![4 << 10, 64 << 10, 1 << 20, 4 << 20], |&size| vec![size]);
        let writers = numbers.get(1).map_or(vec![1, 3], |&count| vec![count]);
        let place = std::env::var_os("CORDUROY_BENCH_DIR").unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into());
        let dir = tempfile::tempdir_in(place).expect("a folder to write in");
        for &count in &writers {
            for &size in &sizes {
                compare(dir.path(), size, count);
            }
        }
    }

    /// All ways at one size of batch and one number of writers.
    fn compare(dir: &Path, size: usize, writers: usize) {
        println!("\n{writers} writer(s), batches of {} KiB", size >> 10);
        println!(
            "{:26} {:>8} {:>8} {:>8} {:>10} {:>6} {:>8} {:>6}",
            "", "p10 us", "p50 us", "p99 us", "at p10", "ratio", "ns/KiB", "ratio"
        );
        let mut turns: Vec<Vec<Turn>> = WAYS.iter().map(|_| Vec::new()).collect();
        for _ in 0..ROUNDS {
            for (way, turns) in WAYS.iter().zip(&mut turns) {
                match turn(dir, *way, size, writers) {
                    Ok(turn) => turns.push(turn),
                    Err(error) if refused(&error) => {}
                    Err(error) => panic!("{}: {error}", way.name),
                }
            }
        }
        let mut first = None;
        for (way, of_way) in WAYS.iter().zip(&turns) {
            if of_way.is_empty() {
                println!("{:26} refused by this kernel or file system", way.name);
                continue;
            }
            let each: Vec<f64> =
                of_way.iter().flat_map(|turn| &turn.each).map(|took| took.as_secs_f64() * 1e6).collect();
            let cost = |turn: &Turn| turn.busy.as_secs_f64() * 1e9 / (turn.bytes as f64 / 1024.0);
            let (p10, cost) = (percentile(&each, 10), percentile(&of_way.iter().map(cost).collect::<Vec<_>>(), 25));
            let (first_p10, first_cost) = *first.get_or_insert((p10, cost));
            println!(
                "{:26} {p10:8.0} {:8.0} {:8.0} {:5.0} MB/s {:6.2} {cost:8.0} {:6.2}",
                way.name,
                percentile(&each, 50),
                percentile(&each, 99),
                (size * writers) as f64 / p10,
                p10 / first_p10,
                cost / first_cost,
            );
        }
    }

    /// Whether a way does not exist here, as opposed to being broken.
    fn refused(error: &io::Error) -> bool {
        [Errno::OPNOTSUPP, Errno::INVAL, Errno::NOSYS]
            .into_iter()
            .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
    }

    fn percentile(values: &[f64], percent: usize) -> f64 {
        let mut values = values.to_vec();
        values.sort_unstable_by(f64::total_cmp);
        values[(values.len() - 1) * percent / 100]
    }

    /// All writers of one way, at the same time.
    fn turn(dir: &Path, way: Way, size: usize, writers: usize) -> io::Result<Turn> {
        let batch = value(size as u64, size + ODD);
        let paths: Vec<PathBuf> = (0..writers).map(|writer| dir.join(format!("{writer}"))).collect();
        let files = paths.iter().map(|path| prepare(path, way)).collect::<io::Result<Vec<_>>>()?;
        let start = Barrier::new(writers);
        let results: Vec<io::Result<Turn>> = thread::scope(|scope| {
            let write = |file| scope.spawn(|| write_for_a_turn(file, way, &batch, &start));
            let running: Vec<_> = files.into_iter().map(write).collect();
            running.into_iter().map(|writer| writer.join().expect("a writer does not panic")).collect()
        });
        for path in paths {
            std::fs::remove_file(path)?;
        }
        let mut all = Turn { bytes: 0, busy: Duration::ZERO, each: Vec::new() };
        for one in results {
            let one = one?;
            all.bytes += one.bytes;
            all.busy += one.busy;
            all.each.extend(one.each);
        }
        Ok(all)
    }

    /// A file with room for a turn.
    fn prepare(path: &Path, way: Way) -> io::Result<File> {
        let room = TURN_BYTES + (8 << 20);
        let _ = std::fs::remove_file(path);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        fallocate(&file, FallocateFlags::empty(), 0, room)?;
        if way.zeroed {
            let zeros = vec![0; 1 << 20];
            for at in (0..room).step_by(zeros.len()) {
                file.write_all_at(&zeros, at)?;
            }
        }
        file.sync_all()?;
        if !way.direct {
            return Ok(file);
        }
        let flags = (OFlags::DIRECT | OFlags::DSYNC).bits();
        OpenOptions::new().read(true).write(true).custom_flags(flags as i32).open(path)
    }

    fn write_for_a_turn(file: File, way: Way, batch: &[u8], start: &Barrier) -> io::Result<Turn> {
        let mut writer = Writer { file, way, end: 0, given_back: 0, memory: vec![0; batch.len() + 3 * BLOCK] };
        start.wait();
        let (began, busy_before) = (Instant::now(), busy());
        let (mut bytes, mut each) = (0, Vec::new());
        while began.elapsed() < TURN && bytes + (batch.len() as u64) < TURN_BYTES {
            let before = Instant::now();
            writer.append(batch)?;
            each.push(before.elapsed());
            bytes += batch.len() as u64;
        }
        Ok(Turn { bytes, busy: busy().saturating_sub(busy_before), each })
    }

    struct Writer {
        file: File,
        way: Way,
        end: u64,
        given_back: u64,
        /// Room for a batch, the blocks it shares with its neighbours, and its alignment.
        memory: Vec<u8>,
    }

    impl Writer {
        /// Durable when it returns.
        fn append(&mut self, batch: &[u8]) -> io::Result<()> {
            if self.way.direct {
                self.append_direct(batch)?
            } else {
                self.append_cached(batch)?
            }
            if self.way.sync {
                self.file.sync_data()?;
            }
            if let Some(keep) = self.way.keep {
                self.give_back(keep)?;
            }
            Ok(())
        }

        fn append_cached(&mut self, mut batch: &[u8]) -> io::Result<()> {
            while !batch.is_empty() {
                let written = rustix::io::pwritev2(&self.file, &[IoSlice::new(batch)], self.end, self.way.flags)?;
                self.end += written as u64;
                batch = &batch[written..];
            }
            Ok(())
        }

        /// Whole blocks: the one the last batch ended in is written again, with the bytes it has.
        fn append_direct(&mut self, batch: &[u8]) -> io::Result<()> {
            let begin = self.memory.as_ptr().align_offset(BLOCK);
            let memory = &mut self.memory[begin..];
            let kept = self.end as usize % BLOCK;
            let used = kept + batch.len();
            let whole = used.next_multiple_of(BLOCK);
            memory[kept..used].copy_from_slice(batch);
            memory[used..whole].fill(0);
            self.file.write_all_at(&memory[..whole], self.end - kept as u64)?;
            self.end += batch.len() as u64;
            let tail = used - used % BLOCK;
            memory.copy_within(tail..used, 0);
            Ok(())
        }

        fn give_back(&mut self, keep: u64) -> io::Result<()> {
            let upto = self.end.saturating_sub(keep) / (1 << 20) * (1 << 20);
            if let Some(len) = NonZeroU64::new(upto - self.given_back) {
                fadvise(&self.file, self.given_back, Some(len), Advice::DontNeed)?;
                self.given_back = upto;
            }
            Ok(())
        }
    }

    /// Processor time of this thread so far, in the kernel and outside of it.
    fn busy() -> Duration {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        let nanoseconds = text.split(' ').next().and_then(|word| word.parse().ok());
        Duration::from_nanos(nanoseconds.unwrap_or_default())
    }
}

#[cfg(target_os = "linux")]
fn main() {
    ways::main();
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("the ways compared here are those of Linux");
}
