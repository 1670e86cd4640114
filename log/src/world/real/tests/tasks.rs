use crate::world::{Tasks, real::RealTasks};
use openraft_rt::{AsyncRuntime, testing::Suite};
use std::time::Duration;
use tokio::sync::oneshot;

#[test]
fn openraft_accepts_the_runtime() {
    Suite::<RealTasks>::test_all();
}

#[tokio::test]
async fn a_dedicated_task_has_a_thread_of_its_own_and_the_timers_of_its_maker() {
    let (sender, receiver) = oneshot::channel();
    RealTasks::spawn_dedicated("wal-test", async move {
        RealTasks::sleep(Duration::from_millis(1)).await;
        let _ = sender.send(std::thread::current().name().map(str::to_owned));
    });
    assert_eq!(receiver.await.unwrap().as_deref(), Some("wal-test"));
}
