//! The network of a run: datagrams between hosts, which are lost, delayed, doubled and cut off by
//! seed, and arrive in virtual time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use paxos_core::Random;
use paxos_net::Sockets;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use rustc_hash::FxHasher;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::quic;
use super::trace::Trace;

/// Datagrams that may wait in a socket; more are lost, as in a kernel.
const INBOX_MAX: usize = 4096;

/// Ports that sockets get who ask for none.
const PORTS_FROM: u16 = 50_000;

/// How datagrams fare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weather {
    /// Every one takes this long, in whole milliseconds, and at least one,
    pub delay: Duration,
    /// and up to so much longer.
    pub jitter: Duration,
    /// Parts per thousand that are lost.
    pub loss: u64,
    /// Parts per thousand that come twice.
    pub duplication: u64,
    /// Parts per thousand that are held back for up to 100 ms, so that others overtake them.
    pub reordering: u64,
}

impl Default for Weather {
    /// Fair: a millisecond, and nothing else.
    fn default() -> Self {
        let (delay, jitter) = (Duration::from_millis(1), Duration::ZERO);
        Weather { delay, jitter, loss: 0, duplication: 0, reordering: 0 }
    }
}

/// What became of datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Traffic {
    /// Handed to the switch.
    pub sent: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Doubled.
    pub doubled: u64,
    /// Held back.
    pub held: u64,
    /// Stopped by a cut.
    pub cut: u64,
}

/// The network. Clones are the same network.
#[derive(Clone)]
pub struct Switch {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    news: Notify,
    trace: Trace,
}

struct State {
    seed: u64,
    weather: Weather,
    /// What was sent last on each link: when, in microseconds, and how many in that moment.
    links: BTreeMap<(IpAddr, IpAddr), (u64, u64)>,
    /// Hosts that stand still, and until when.
    still: BTreeMap<IpAddr, Instant>,
    cuts: BTreeSet<(IpAddr, IpAddr)>,
    sockets: BTreeMap<SocketAddr, Weak<Socket>>,
    mail: BTreeMap<(Instant, u64), Datagram>,
    number: u64,
    port: u16,
    traffic: Traffic,
}

struct Datagram {
    /// When its sender runs again that stands still, or when it was sent.
    leaves: Instant,
    from: SocketAddr,
    to: SocketAddr,
    bytes: Bytes,
}

impl Switch {
    /// A network of no hosts. Must be called within a runtime, which ends its work.
    pub fn new(seed: u64, trace: Trace) -> Self {
        let state = State {
            seed,
            weather: Weather::default(),
            links: BTreeMap::new(),
            still: BTreeMap::new(),
            cuts: BTreeSet::new(),
            sockets: BTreeMap::new(),
            mail: BTreeMap::new(),
            number: 0,
            port: PORTS_FROM,
            traffic: Traffic::default(),
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), news: Notify::new(), trace });
        tokio::spawn(carry(shared.clone()));
        Switch { shared }
    }

    /// Plugs a host in. One that was there before must have been unplugged.
    pub fn host(&self, address: IpAddr) -> Host {
        Host { switch: self.clone(), address, plugged: Arc::new(AtomicBool::new(true)) }
    }

    /// Changes the weather.
    pub fn blow(&self, weather: Weather) {
        self.state().weather = weather;
    }

    /// From now on nothing gets from the one host to the other; the way back stays.
    pub fn cut(&self, from: IpAddr, to: IpAddr) {
        self.state().cuts.insert((from, to));
    }

    /// Undoes a cut.
    pub fn mend(&self, from: IpAddr, to: IpAddr) {
        self.state().cuts.remove(&(from, to));
    }

    /// What the host sends, and what is sent to it, waits until then.
    pub fn stand_still(&self, host: IpAddr, until: Instant) {
        let mut state = self.state();
        let still = state.still.entry(host).or_insert(until);
        *still = until.max(*still);
    }

    /// Undoes every cut, and the weather is fair.
    pub fn heal(&self) {
        let mut state = self.state();
        state.cuts.clear();
        state.weather = Weather::default();
    }

    /// What became of datagrams so far.
    pub fn traffic(&self) -> Traffic {
        self.state().traffic
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }

    fn send(&self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let now = self.shared.trace.elapsed().as_micros() as u64;
        let mut state = self.state();
        let state = &mut *state;
        state.traffic.sent += 1;
        let copies = state.fates(from.ip(), to.ip(), now);
        let words = || format!("{from} -> {to}: {} bytes, {copies:?}", bytes.len());
        self.shared.trace.datagram(&(from, to, bytes.len(), &copies), words);
        if copies.is_empty() {
            return;
        }
        let bytes = Bytes::copy_from_slice(bytes);
        let leaves = state.wakes(from.ip(), Instant::now());
        for delay in copies {
            state.number += 1;
            let datagram = Datagram { leaves, from, to, bytes: bytes.clone() };
            state.mail.insert((leaves + delay, state.number), datagram);
        }
        self.shared.news.notify_one();
    }
}

impl State {
    /// How long each copy of a datagram takes; none: it is lost. The link and the moment decide,
    /// not what was sent before and elsewhere: who sends at the same time in two runs meets the
    /// same network.
    fn fates(&mut self, from: IpAddr, to: IpAddr, now: u64) -> Vec<Duration> {
        let (at, count) = self.links.entry((from, to)).or_default();
        *count = if *at == now { *count + 1 } else { 0 };
        *at = now;
        let mut hasher = FxHasher::default();
        (self.seed, from, to, now, *count).hash(&mut hasher);
        let mut random = Random::new(hasher.finish());
        if self.cuts.contains(&(from, to)) {
            self.traffic.cut += 1;
            return Vec::new();
        }
        let Weather { delay, jitter, loss, duplication, reordering } = self.weather.clone();
        if random.below(1000) < loss {
            self.traffic.lost += 1;
            return Vec::new();
        }
        let doubled = random.below(1000) < duplication;
        self.traffic.doubled += u64::from(doubled);
        let mut fate = || {
            let held = random.below(1000) < reordering;
            self.traffic.held += u64::from(held);
            let longer = random.below(jitter.as_millis() as u64 + 1)
                + if held { random.below(100) } else { 0 };
            delay.max(Duration::from_millis(1)) + Duration::from_millis(longer)
        };
        if doubled { vec![fate(), fate()] } else { vec![fate()] }
    }

    /// When a host runs: now, unless it stands still.
    fn wakes(&self, host: IpAddr, now: Instant) -> Instant {
        self.still.get(&host).map_or(now, |until| now.max(*until))
    }

    /// Takes out what has arrived; the rest waits until then.
    fn due(&mut self, now: Instant) -> (Vec<Datagram>, Option<Instant>) {
        let later = self.mail.split_off(&(now, u64::MAX));
        let mut due = Vec::new();
        for ((_, number), datagram) in std::mem::replace(&mut self.mail, later) {
            match self.wakes(datagram.to.ip(), now) {
                wakes if wakes > now => {
                    self.mail.insert((wakes, number), datagram);
                }
                _ => due.push(datagram),
            }
        }
        (due, self.mail.keys().next().map(|(at, _)| *at))
    }
}

/// Delivers.
async fn carry(shared: Arc<Shared>) {
    loop {
        let (due, next) = lock(&shared.state).due(Instant::now());
        for datagram in due {
            let socket = lock(&shared.state).sockets.get(&datagram.to).and_then(Weak::upgrade);
            match socket {
                Some(socket) if socket.understands(&datagram.bytes) => socket.take(datagram),
                _ => {}
            }
        }
        let news = shared.news.notified();
        match next {
            None => news.await,
            Some(at) => tokio::select! {
                biased;
                () = news => {}
                () = sleep_until(at) => {}
            },
        }
    }
}

/// A machine on the network, as long as it is plugged in.
#[derive(Clone)]
pub struct Host {
    switch: Switch,
    address: IpAddr,
    plugged: Arc<AtomicBool>,
}

impl Host {
    /// Takes it off the network at once: from now on it hears and says nothing, whatever its
    /// programs do. Another host may have its address.
    pub fn unplug(&self) {
        self.plugged.store(false, Ordering::Relaxed);
        let mut state = self.switch.state();
        state.sockets.retain(|address, _| address.ip() != self.address);
        state.still.remove(&self.address);
        let (now, address) = (Instant::now(), self.address);
        state.mail.retain(|_, it| it.from.ip() != address || it.leaves <= now);
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host {}", self.address)
    }
}

impl Sockets for Host {
    fn open(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let mut state = self.switch.state();
        let port = match address.port() {
            0 => {
                state.port += 1;
                state.port
            }
            port => port,
        };
        let address = SocketAddr::new(self.address, port);
        if state.sockets.get(&address).is_some_and(|socket| socket.strong_count() > 0) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let (inbox, names) = Default::default();
        let socket = Arc::new(Socket { host: self.clone(), address, inbox, names });
        if self.plugged.load(Ordering::Relaxed) {
            state.sockets.insert(address, Arc::downgrade(&socket));
        }
        Ok(socket)
    }
}

/// One end of datagrams.
struct Socket {
    host: Host,
    address: SocketAddr,
    inbox: Mutex<Inbox>,
    /// The connection ids that it has given itself in handshakes.
    names: Mutex<BTreeSet<Bytes>>,
}

#[derive(Default)]
struct Inbox {
    datagrams: VecDeque<Datagram>,
    reader: Option<Waker>,
}

impl Socket {
    /// Whether a datagram is not an Initial for a connection of an earlier run. Such a one cannot
    /// be decrypted and is of no effect, but QUIC sees that only after it has read bits that are
    /// noise: three in four it drops at once, one it answers in vain. That chance no seed decides,
    /// so it is taken away here.
    fn understands(&self, bytes: &[u8]) -> bool {
        match quic::initial(bytes) {
            Some(name) if name.len() == quic::NAME => lock(&self.names).contains(name),
            _ => true,
        }
    }

    fn take(&self, datagram: Datagram) {
        let mut inbox = lock(&self.inbox);
        if inbox.datagrams.len() < INBOX_MAX {
            inbox.datagrams.push_back(datagram);
        }
        if let Some(reader) = inbox.reader.take() {
            reader.wake();
        }
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "socket {}", self.address)
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if self.host.plugged.load(Ordering::Relaxed) {
            let size = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
            for datagram in transmit.contents.chunks(size) {
                if let Some((_, own)) = quic::names(datagram) {
                    lock(&self.names).insert(Bytes::copy_from_slice(own));
                }
                self.host.switch.send(self.address, transmit.destination, datagram);
            }
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut inbox = lock(&self.inbox);
        let mut count = 0;
        for (buffer, meta) in buffers.iter_mut().zip(meta) {
            let Some(Datagram { from, bytes, .. }) = inbox.datagrams.pop_front() else { break };
            let len = bytes.len().min(buffer.len());
            buffer[..len].copy_from_slice(&bytes[..len]);
            let dst_ip = Some(self.address.ip());
            *meta = RecvMeta { addr: from, len, stride: len, ecn: None, dst_ip };
            count += 1;
        }
        if count == 0 {
            inbox.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(count))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

/// The switch takes everything.
#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
