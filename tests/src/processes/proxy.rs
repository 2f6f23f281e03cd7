//! A network between a client and a node that goes dead when it is told to.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// One direction is waited for so long before the other has its turn.
const TURN: Duration = Duration::from_micros(500);

/// Passes datagrams on in both directions, and only the first few of those that come from the node.
/// It serves one client.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Nothing comes from the node any more.
    deaf: AtomicBool,
    /// Nothing goes to it either.
    cut: AtomicBool,
    /// Nobody needs the proxy any more.
    over: AtomicBool,
}

impl Proxy {
    /// A proxy for the node at `node` that passes on `answers` of its datagrams and then no more.
    ///
    /// # Panics
    /// If there can be no sockets.
    pub fn start(node: &str, answers: usize) -> Proxy {
        let bind = || UdpSocket::bind("127.0.0.1:0").expect("there is a free port");
        let (front, back) = (bind(), bind());
        back.connect(node).expect("an address can be connected to");
        let address = front.local_addr().expect("a bound socket has an address");
        let state = Arc::<State>::default();
        let shared = state.clone();
        thread::spawn(move || pass(&front, &back, answers, &shared));
        Proxy { address, state }
    }

    /// From now on nothing comes from the node; it still hears the client.
    pub fn deafen(&self) {
        self.state.deaf.store(true, Ordering::Relaxed);
    }

    /// From now on nothing passes.
    pub fn cut(&self) {
        self.deafen();
        self.state.cut.store(true, Ordering::Relaxed);
    }

    /// Where the client is to send to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::Relaxed);
    }
}

/// One thread for both directions, which looks at each in turn.
fn pass(front: &UdpSocket, back: &UdpSocket, mut answers: usize, state: &State) {
    for socket in [front, back] {
        socket.set_read_timeout(Some(TURN)).expect("a turn takes some time");
    }
    let mut client = None;
    let mut bytes = [0; 1 << 16];
    let is = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
    while !is(&state.over) {
        if let Ok((count, from)) = front.recv_from(&mut bytes) {
            client = Some(from);
            if !is(&state.cut) {
                // What is lost here is lost in any network.
                back.send(&bytes[..count]).ok();
            }
        }
        if let Ok(count) = back.recv(&mut bytes)
            && let Some(client) = client
            && answers > 0
            && !is(&state.deaf)
        {
            answers -= 1;
            front.send_to(&bytes[..count], client).ok();
        }
    }
}
