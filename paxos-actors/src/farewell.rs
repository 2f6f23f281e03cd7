//! How a node that leads goes: it hands over first, so that nobody has to notice its silence.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use paxos_core::{Envelope, Inside, Message};
use tokio::time::{Instant, sleep};

use crate::roster::Roster;
use crate::wiring::Wires;

/// For the others to take leadership over; who cannot, elects anew when the node is gone.
const HAND_OVER: Duration = Duration::from_secs(2);

/// For the requests that wait here to be served by the new leader; whoever still waits then asks
/// another node.
const SERVE: Duration = Duration::from_secs(1);

const LOOK: Duration = Duration::from_millis(5);

/// Hands leadership over, if this node leads; bounded.
pub(crate) async fn hand_over(wires: &Wires, leader: &AtomicU64) {
    let me = wires.me;
    let leader = || leader.load(Ordering::Relaxed);
    if leader() != me.0 || !wires.roster.get().is_some_and(Roster::has_heirs) {
        return;
    }
    let message = Message::Inside(Inside::Transfer { to: None });
    wires.dispatch([Envelope { from: me, to: me, message }]);
    wait_until(HAND_OVER, || leader() != me.0 && leader() != 0).await;
    wait_until(SERVE, || wires.waiting.load(Ordering::Relaxed) == 0).await;
}

async fn wait_until(patience: Duration, happened: impl Fn() -> bool) {
    let until = Instant::now() + patience;
    while !happened() && Instant::now() < until {
        sleep(LOOK).await;
    }
}
