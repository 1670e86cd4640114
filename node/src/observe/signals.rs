//! SIGTERM and SIGINT.
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Resolves at the first SIGTERM or SIGINT. A second one ends the process at once: an operator who presses Ctrl-C twice
/// means it.
pub(crate) async fn terminated() {
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate()), listen(SignalKind::interrupt()));
    either(&mut terminate, &mut interrupt).await;
    tokio::spawn(async move {
        either(&mut terminate, &mut interrupt).await;
        eprintln!("stopped at once by a second signal");
        std::process::exit(crate::cli::exit::INTERRUPTED);
    });
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

fn listen(kind: SignalKind) -> Signal {
    signal(kind).expect("the runtime has its signal driver, and these signals can be caught")
}
