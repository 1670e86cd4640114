//! Taking connections, as long as the target does.
use super::{Shared, pump};
use std::{
    io,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};

/// How often a target that is gone is looked for.
const LOOK: Duration = Duration::from_millis(2);
/// After the system refused something (out of descriptors, a port that is not free yet).
const PAUSE: Duration = Duration::from_millis(10);
/// A target on this machine answers at once or never.
const CONNECT: Duration = Duration::from_secs(1);
/// Connections that wait to be taken.
const BACKLOG: u32 = 128;

/// Listens; the port may have been listened on a moment ago.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Takes connections for as long as this task lives.
pub(super) async fn serve(mut listener: TcpListener, shared: Arc<Shared>) {
    let Ok(address) = listener.local_addr() else { return };
    let mut connections = JoinSet::new();
    let mut there = shared.target_is_there.subscribe();
    loop {
        while *there.borrow_and_update() {
            tokio::select! {
                taken = listener.accept() => match taken {
                    Ok((caller, _)) => drop(connections.spawn(connect(caller, shared.clone()))),
                    Err(_) => sleep(PAUSE).await,
                },
                _ = there.changed() => {}
                Some(_) = connections.join_next() => {}
            }
        }
        // Nobody is to be accepted on behalf of a target that would not.
        drop(listener);
        shared.listening.send_modify(|(open, ceased)| (*open, *ceased) = (false, *ceased + 1));
        while !is_there(shared.target).await {
            sleep(LOOK).await;
        }
        listener = loop {
            match bind(address) {
                Ok(listener) => break listener,
                Err(_) => sleep(PAUSE).await,
            }
        };
        shared.target_is_there.send_replace(true);
        shared.listening.send_modify(|(open, _)| *open = true);
    }
}

/// One connection, from its beginning to its end.
async fn connect(caller: TcpStream, shared: Arc<Shared>) {
    match to_target(shared.target).await {
        Ok(target) => {
            shared.connections.fetch_add(1, Ordering::Relaxed);
            pump::run(caller, target, &shared).await;
        }
        Err(_) => {
            refuse(&shared).await;
            pump::abort(caller);
        }
    }
}

/// Looks whether the target still takes connections; where not, returns when the proxy takes none either.
pub(super) async fn look(shared: &Shared) {
    if !is_there(shared.target).await {
        refuse(shared).await;
    }
}

async fn refuse(shared: &Shared) {
    let mut listening = shared.listening.subscribe();
    let (_, before) = *listening.borrow_and_update();
    shared.target_is_there.send_replace(false);
    // The sender is in `shared`, so it outlives this.
    let _ = listening.wait_for(|(open, ceased)| !open || *ceased > before).await;
}

async fn is_there(target: SocketAddr) -> bool {
    to_target(target).await.is_ok()
}

async fn to_target(target: SocketAddr) -> io::Result<TcpStream> {
    timeout(CONNECT, TcpStream::connect(target)).await.map_err(|_| io::ErrorKind::TimedOut)?
}
