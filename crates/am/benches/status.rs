//! Calls per second over TLS connections that are kept alive: Status with a credential that is verified each time, and
//! GetVersion beside it, which is the same way without credentials.
//!
//! `cargo bench -p testyard-am`; server and clients share the machine and the process.

#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use support::federation::slice_urn;
use support::{Server, request};
use testyard_am::ServerLimits;
use testyard_am::client::{AmClient, CallOptions};
use testyard_trust::PassedCredential;

const CLIENTS: usize = 16;
const TIME: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() {
    // `cargo test` runs benches too, to see that they do.
    let time =
        if std::env::args().any(|argument| argument == "--bench") { TIME } else { Duration::from_millis(50) };
    let unlimited = ServerLimits { rate: 1e9, burst: 1e9, ..ServerLimits::default() };
    let server = Server::start(unlimited).await;
    let ann = server.door.federation.user("ann");
    let credentials = vec![PassedCredential::sfa(server.door.federation.slice_credential(&ann, "demo", 48))];
    server
        .client(Some(&ann))
        .allocate(&slice_urn("demo"), &credentials, &request(&["a", "b"]), &CallOptions::default())
        .await
        .expect("allocated");

    let clients: Vec<_> = (0..CLIENTS).map(|_| Arc::new(server.client(Some(&ann)))).collect();
    let credentials = Arc::new(credentials);
    let version = rate(time, &clients, &credentials, Which::GetVersion).await;
    let status = rate(time, &clients, &credentials, Which::Status).await;
    println!("{CLIENTS} clients, {} s each", time.as_secs_f64());
    println!("GetVersion  {version:>8.0} calls/s");
    println!("Status      {status:>8.0} calls/s (2 slivers, credential verified)");
}

#[derive(Clone, Copy)]
enum Which {
    GetVersion,
    Status,
}

/// Calls per second of all clients together.
async fn rate(
    time: Duration,
    clients: &[Arc<AmClient>],
    credentials: &Arc<Vec<PassedCredential>>,
    which: Which,
) -> f64 {
    let begun = Instant::now();
    let tasks = clients.iter().map(|client| {
        let (client, credentials, urns) = (Arc::clone(client), Arc::clone(credentials), [slice_urn("demo")]);
        tokio::spawn(async move {
            let mut calls = 0u32;
            while begun.elapsed() < time {
                match which {
                    Which::GetVersion => drop(client.get_version().await.expect("a version")),
                    Which::Status => {
                        let status = client.status(&urns, &credentials, &CallOptions::default()).await;
                        assert_eq!(status.expect("a status").slivers.len(), 2);
                    }
                }
                calls += 1;
            }
            calls
        })
    });
    let mut calls = 0.0;
    for task in tasks.collect::<Vec<_>>() {
        calls += f64::from(task.await.expect("no call fails"));
    }
    calls / begun.elapsed().as_secs_f64()
}
