use super::*;
use crate::{
    testing::{SimTasks, TaskError},
    world::{Clock, Halt, Rng, Tasks},
};
use openraft_rt::{AsyncRuntime, testing::Suite};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

/// Counts how often it is dropped.
struct Tally(Arc<AtomicU32>);

impl Drop for Tally {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Ticks every millisecond of virtual time, forever.
async fn tick(ticks: Arc<AtomicU32>) {
    loop {
        SimTasks::sleep(ms(1)).await;
        ticks.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn openraft_accepts_the_runtime() {
    Suite::<SimTasks>::test_all();
}

#[test]
fn a_kill_drops_the_tasks_of_the_node_and_of_no_other() {
    let sim = Sim::seed(1);
    let dropped = Arc::new(AtomicU32::new(0));
    let others = Arc::new(AtomicU32::new(0));
    sim.run(async {
        let (first, second) = (Tally(dropped.clone()), Tally(dropped.clone()));
        let killed = sim.spawn_on(1, async move {
            let _first = first;
            // Inherits the node.
            SimTasks::spawn_dedicated("wal", async move {
                let _second = second;
                std::future::pending::<()>().await;
            });
            std::future::pending::<()>().await;
        });
        sim.spawn_on(2, tick(others.clone()));
        sim.sleep(ms(10)).await;
        sim.kill(1);
        assert_eq!(dropped.load(Ordering::Relaxed), 2, "at once");
        assert_eq!(killed.await, Err(TaskError::Cancelled));
        assert!(!sim.is_alive(1) && sim.is_alive(2));
        let before = others.load(Ordering::Relaxed);
        sim.sleep(ms(10)).await;
        assert!(others.load(Ordering::Relaxed) >= before + 9);
    });
}

#[test]
fn a_destructor_of_a_dead_node_may_spawn_and_nothing_runs() {
    struct SpawnsWhenDropped(Arc<AtomicU32>);
    impl Drop for SpawnsWhenDropped {
        fn drop(&mut self) {
            let ran = self.0.clone();
            drop(SimTasks::spawn(async move { ran.fetch_add(1, Ordering::Relaxed) }));
        }
    }
    let sim = Sim::seed(1);
    let ran = Arc::new(AtomicU32::new(0));
    sim.run(async {
        let spawns = SpawnsWhenDropped(ran.clone());
        sim.spawn_on(1, async move {
            let _spawns = spawns;
            std::future::pending::<()>().await;
        });
        sim.sleep(ms(1)).await;
        sim.kill(1);
        sim.sleep(ms(1)).await;
    });
    assert_eq!(ran.load(Ordering::Relaxed), 0);
}

#[test]
fn a_node_that_halts_goes_no_further_than_its_next_await() {
    let sim = Sim::seed(1);
    let ticks = Arc::new(AtomicU32::new(0));
    sim.run(async {
        sim.spawn_on(1, tick(ticks.clone()));
        let env = sim.env(1);
        let halting = sim.spawn_on(1, async move {
            SimTasks::sleep(ms(5)).await;
            SimTasks::halt(Halt::DiskFailed("EIO".to_owned()));
            let refused = env.disk.create_new(Path::new("/late")).map(drop);
            assert!(refused.is_err(), "a dead node writes nothing");
            SimTasks::sleep(ms(1)).await;
            unreachable!("it is dead");
        });
        assert_eq!(halting.await, Err(TaskError::Cancelled));
        assert_eq!(sim.halted(1), Some(Halt::DiskFailed("EIO".to_owned())));
        sim.sleep(ms(10)).await;
        assert!(ticks.load(Ordering::Relaxed) <= 5);
        sim.restart(1);
        assert_eq!(sim.halted(1), None);
        assert!(sim.is_alive(1));
    });
}

#[test]
fn a_paused_node_does_nothing_until_it_goes_on() {
    let sim = Sim::seed(1);
    let ticks = Arc::new(AtomicU32::new(0));
    sim.run(async {
        sim.spawn_on(1, tick(ticks.clone()));
        sim.sleep(ms(10)).await;
        sim.pause(1);
        let before = ticks.load(Ordering::Relaxed);
        sim.sleep(ms(100)).await;
        assert_eq!(ticks.load(Ordering::Relaxed), before);
        sim.resume(1);
        sim.sleep(ms(10)).await;
        assert!(ticks.load(Ordering::Relaxed) > before);
    });
}

#[test]
fn the_panic_of_a_task_fails_the_run_and_names_the_seed() {
    let sim = Sim::seed(77);
    let failed = catch_unwind(AssertUnwindSafe(|| {
        sim.run(async {
            sim.spawn_on(3, async { panic!("a broken invariant") });
            sim.sleep(Duration::from_secs(60)).await;
        })
    }));
    let message = *failed.unwrap_err().downcast::<String>().unwrap();
    assert!(
        message.contains("seed 77") && message.contains("node 3") && message.contains("a broken invariant"),
        "{message}"
    );
}

#[test]
fn wall_clocks_follow_virtual_time_and_can_be_off() {
    let sim = Sim::seed(1);
    sim.run(async {
        let env = sim.env(1);
        let start = env.clock.now().0;
        sim.sleep(Duration::from_secs(3600)).await;
        assert_eq!(env.clock.now().0 - start, 3_600_000_000);
        sim.set_clock_offset(1, -5_000_000);
        assert_eq!(env.clock.now().0 - start, 3_595_000_000);
        assert_eq!(sim.env(2).clock.now().0 - start, 3_600_000_000);
    });
}

#[test]
fn randomness_differs_between_nodes_incarnations_and_seeds_and_repeats_otherwise() {
    let draws = |seed| {
        let sim = Sim::seed(seed);
        sim.run(async {
            let first = sim.env(1).rng.next_u64();
            let other = sim.env(2).rng.next_u64();
            (first, other, sim.restart(1).rng.next_u64())
        })
    };
    let (first, other, later) = draws(1);
    assert!(first != other && first != later && other != later);
    assert_eq!(draws(1), (first, other, later));
    assert_ne!(draws(2).0, first);
}
