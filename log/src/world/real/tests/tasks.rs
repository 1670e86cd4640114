use crate::world::{Halt, Tasks, real::RealTasks};
use openraft_rt::{AsyncRuntime, testing::Suite};
use std::time::Duration;
use tokio::sync::oneshot;

/// Set in the child that is to halt.
const HALT: &str = "CORDUROY_TEST_HALT";

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

#[test]
fn a_halting_process_names_the_reason_and_exits_with_its_code() {
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "world::real::tests::tasks::halts_where_asked_to"])
        .env(HALT, "1")
        .output()
        .unwrap();
    assert_eq!(child.status.code(), Some(70));
    let said = String::from_utf8(child.stderr).unwrap();
    assert!(said.contains("corduroy: halted: DISK_FAILED: write: EIO\n"), "{said}");
}

/// The child's part of the test above.
#[test]
fn halts_where_asked_to() {
    if std::env::var_os(HALT).is_some() {
        RealTasks::halt(Halt::DiskFailed("write: EIO".to_owned()));
    }
}
