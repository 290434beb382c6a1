//! Each client's share: connections per address, calls per certificate (or address, without one).

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::limits::ServerLimits;
use crate::tls::Peer;

/// Clients that are remembered. Who is idle long enough is as good as unknown, and forgotten first.
const REMEMBERED: usize = 10_000;

/// What a call takes of its address's share: several users may be behind one address.
const OF_ADDRESS: f64 = 0.25;

/// Whose share a call takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Client {
    Certificate([u8; 32]),
    /// Who showed no certificate.
    Anonymous(IpAddr),
    /// All of one address together.
    Address(IpAddr),
}

/// All clients' shares.
pub(super) struct Clients {
    limits: ServerLimits,
    connections: Arc<Counts<IpAddr>>,
    all_connections: Arc<Semaphore>,
    calls: Arc<Semaphore>,
    known: Mutex<HashMap<Client, Known>>,
    memory: Arc<Semaphore>,
}

struct Known {
    tokens: f64,
    at: Instant,
    calls: Arc<Semaphore>,
    memory: Arc<Semaphore>,
}

impl Known {
    /// Takes tokens for a call, if there are enough, and gives the semaphore of the client's calls.
    fn spend(&mut self, tokens: f64) -> Option<Arc<Semaphore>> {
        if self.tokens < tokens {
            return None;
        }
        self.tokens -= tokens;
        Some(Arc::clone(&self.calls))
    }
}

/// What a call may use while it is being read.
pub(super) struct Share {
    /// Memory for its body: of all clients, and of its address.
    pub(super) memory: [Arc<Semaphore>; 2],
    /// Its client's calls; `None` if that client calls too often.
    calls: Option<Arc<Semaphore>>,
}

/// A connection's place; gives it back when dropped.
pub(super) struct Connected {
    _all: OwnedSemaphorePermit,
    _own: Counted<IpAddr>,
}

/// A call's turn; gives it back when dropped.
pub(super) struct Turn {
    _all: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
}

impl Clients {
    pub(super) fn new(limits: ServerLimits) -> Self {
        Self {
            connections: Arc::default(),
            all_connections: Arc::new(Semaphore::new(limits.connections)),
            calls: Arc::new(Semaphore::new(limits.calls)),
            known: Mutex::default(),
            memory: Arc::new(Semaphore::new(limits.all_bodies_bytes.min(Semaphore::MAX_PERMITS))),
            limits,
        }
    }

    pub(super) fn limits(&self) -> &ServerLimits {
        &self.limits
    }

    /// A place for a connection, if there is one.
    pub(super) fn connect(&self, address: IpAddr) -> Option<Connected> {
        let own = Counts::take(&self.connections, network(address), self.limits.connections_per_address)?;
        let all = Arc::clone(&self.all_connections).try_acquire_owned().ok()?;
        Some(Connected { _all: all, _own: own })
    }

    /// The share of a call that begins.
    pub(super) fn share(&self, peer: &Peer, now: Instant) -> Share {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // Certificates cost nothing to make, addresses do: memory goes by address, and so does part of the rate.
        let network = network(peer.address);
        let (memory, address) = match self.entry(&mut known, Client::Address(network), now) {
            Some(entry) => (Arc::clone(&entry.memory), entry.spend(OF_ADDRESS)),
            None => (Arc::new(Semaphore::new(0)), None),
        };
        let memory = [Arc::clone(&self.memory), memory];
        let client = peer.identity.map_or(Client::Anonymous(network), Client::Certificate);
        let own = address.and_then(|_| self.entry(&mut known, client, now));
        let calls = own.and_then(|entry| entry.spend(1.0));
        Share { memory, calls }
    }

    /// A call's turn, once its body is there; `None` if the client calls too often or too many at once.
    pub(super) async fn turn(&self, share: Share) -> Option<Turn> {
        let own = share.calls?;
        let turn = async {
            let own = own.acquire_owned().await.ok()?;
            let all = Arc::clone(&self.calls).acquire_owned().await.ok()?;
            Some(Turn { _all: all, _own: own })
        };
        tokio::time::timeout(self.limits.turn, turn).await.ok().flatten()
    }

    /// What is known of a client, with the tokens that it has by now; `None` if too many are.
    fn entry<'a>(
        &self,
        known: &'a mut HashMap<Client, Known>,
        client: Client,
        now: Instant,
    ) -> Option<&'a mut Known> {
        let limits = &self.limits;
        if known.len() >= REMEMBERED && !known.contains_key(&client) {
            let idle = |entry: &Known| {
                let earned = now.saturating_duration_since(entry.at).as_secs_f64() * limits.rate;
                entry.tokens + earned >= limits.burst
                    && Arc::strong_count(&entry.calls) == 1
                    && Arc::strong_count(&entry.memory) == 1
            };
            known.retain(|_, entry| !idle(entry));
            if known.len() >= REMEMBERED {
                return None;
            }
        }
        let entry = known.entry(client).or_insert_with(|| Known {
            tokens: limits.burst,
            at: now,
            calls: Arc::new(Semaphore::new(limits.calls_per_client)),
            memory: Arc::new(Semaphore::new((limits.all_bodies_bytes / 4).max(limits.body_bytes))),
        });
        let earned = now.saturating_duration_since(entry.at).as_secs_f64() * limits.rate;
        entry.tokens = (entry.tokens + earned).min(limits.burst);
        entry.at = now;
        Some(entry)
    }
}

/// A customer's IPv6 network is one address here: it has more of them than could be counted.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

struct Counts<K>(Mutex<HashMap<K, usize>>);

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

struct Counted<K: Eq + Hash>(Arc<Counts<K>>, K);

impl<K: Eq + Hash + Clone> Counts<K> {
    fn take(this: &Arc<Self>, key: K, limit: usize) -> Option<Counted<K>> {
        let mut counts = this.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(key.clone()).or_default();
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(Counted(Arc::clone(this), key))
    }
}

impl<K: Eq + Hash> Drop for Counted<K> {
    fn drop(&mut self) {
        let mut counts = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn clients(limits: ServerLimits) -> Clients {
        Clients::new(limits)
    }

    fn peer(address: &str) -> Peer {
        Peer::anonymous(address.parse().unwrap())
    }

    async fn turn(clients: &Clients, peer: &Peer, now: Instant) -> Option<Turn> {
        clients.turn(clients.share(peer, now)).await
    }

    #[tokio::test]
    async fn a_burst_and_then_a_rate() {
        let clients = clients(ServerLimits { rate: 10.0, burst: 3.0, ..ServerLimits::default() });
        let (ann, ben, start) = (peer("192.0.2.1"), peer("192.0.2.2"), Instant::now());
        for _ in 0..3 {
            assert!(turn(&clients, &ann, start).await.is_some());
        }
        assert!(turn(&clients, &ann, start).await.is_none());
        assert!(turn(&clients, &ben, start).await.is_some(), "one client's haste is not another's");
        assert!(turn(&clients, &ann, start + Duration::from_millis(110)).await.is_some());
        assert!(turn(&clients, &ann, start + Duration::from_millis(120)).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn calls_at_one_time() {
        let clients = clients(ServerLimits { calls_per_client: 1, ..ServerLimits::default() });
        let (ann, ben, now) = (peer("192.0.2.1"), peer("192.0.2.2"), Instant::now());
        let first = turn(&clients, &ann, now).await.unwrap();
        assert!(turn(&clients, &ann, now).await.is_none(), "it waited, and nothing came");
        assert!(turn(&clients, &ben, now).await.is_some());
        drop(first);
        assert!(turn(&clients, &ann, now).await.is_some());
    }

    #[test]
    fn connections_of_one_network() {
        let clients =
            clients(ServerLimits { connections_per_address: 2, connections: 3, ..ServerLimits::default() });
        let connect = |address: &str| clients.connect(address.parse().unwrap());
        let held = [connect("2001:db8::1"), connect("2001:db8::2")];
        assert!(held.iter().all(Option::is_some) && connect("2001:db8::3").is_none());
        let other = connect("192.0.2.1");
        assert!(other.is_some() && connect("192.0.2.2").is_none(), "three in all");
        drop(held);
        assert!(connect("::ffff:192.0.2.1").is_some());
    }

    #[test]
    fn strangers_do_not_fill_memory() {
        let clients = clients(ServerLimits { rate: 1.0, burst: 2.0, ..ServerLimits::default() });
        let start = Instant::now();
        let stranger = |n: usize| peer(&std::net::Ipv4Addr::from_bits(n as u32).to_string());
        for n in 0..REMEMBERED / 2 {
            assert!(clients.share(&stranger(n), start).calls.is_some());
        }
        let one_more = stranger(REMEMBERED);
        assert!(clients.share(&one_more, start).calls.is_none());
        assert!(clients.share(&one_more, start + Duration::from_secs(2)).calls.is_some());
        assert!(clients.known.lock().unwrap().len() < 10);
    }

    #[test]
    fn many_certificates_do_not_make_many_clients() {
        let clients = clients(ServerLimits { rate: 1.0, burst: 2.0, ..ServerLimits::default() });
        let now = Instant::now();
        let calls = (0..100u8).filter(|n| {
            let stranger = Peer { identity: Some([*n; 32]), ..peer("192.0.2.1") };
            clients.share(&stranger, now).calls.is_some()
        });
        assert_eq!(calls.count(), 8, "four times as many as one may make");
    }
}
