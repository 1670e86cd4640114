use super::*;
use crate::{
    testing::{SimTasks, SimTime},
    world::Clock as _,
};
use openraft_rt::{AsyncRuntime as _, Instant as _};

#[test]
fn a_nodes_time_follows_its_own_oscillator() {
    let sim = Sim::seed(1);
    sim.run(async {
        for (permille, virtually) in [(1000, 2000), (2000, 1000), (500, 4000)] {
            sim.set_clock_rate(1, permille);
            let start = sim.elapsed();
            let env = sim.env(1);
            let seen = sim.spawn_on(1, async move {
                let (began, wall) = (SimTime::now(), env.clock.now());
                SimTasks::sleep(ms(1000)).await;
                assert!(SimTasks::timeout(ms(1000), std::future::pending::<()>()).await.is_err());
                (began.elapsed(), env.clock.now().0 - wall.0)
            });
            let (elapsed, wall) = seen.await.unwrap();
            assert_eq!(sim.elapsed() - start, ms(virtually), "at {permille} permille");
            assert_eq!((elapsed, wall), (ms(2000), 2_000_000), "the node sees nothing of it");
        }
    });
}

#[test]
fn nobody_wakes_before_the_time_when_the_clock_slows_down_meanwhile() {
    let sim = Sim::seed(1);
    sim.run(async {
        let slept = sim.spawn_on(1, async {
            let deadline = SimTime::now() + ms(1000);
            SimTasks::sleep_until(deadline).await;
            SimTime::now() >= deadline
        });
        sim.sleep(ms(500)).await;
        sim.set_clock_rate(1, 500);
        assert!(slept.await.unwrap());
        assert_eq!(sim.elapsed(), ms(1500));
    });
}

#[test]
fn the_clock_of_a_machine_outlives_the_process() {
    let sim = Sim::seed(1);
    sim.run(async {
        sim.set_clock_rate(1, 2000);
        sim.sleep(ms(1000)).await;
        let before = sim.env(1).clock.now();
        sim.kill(1);
        sim.sleep(ms(1000)).await;
        let after = sim.restart(1).clock.now();
        assert_eq!(after.0 - before.0, 2_000_000);
    });
}
