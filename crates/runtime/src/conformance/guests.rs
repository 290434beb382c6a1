//! The stream to the guest.

use std::time::Duration;

use testyard_guest_protocol::{FrameError, FromGuest, Hello, read_async};

use super::{Bench, soon};
use crate::contract::{GuestListener, GuestStream};

/// The next stream, after its hello.
pub(super) async fn hello(listener: &mut Box<dyn GuestListener>) -> (Box<dyn GuestStream>, Hello) {
    soon("the guest says hello", async {
        loop {
            let mut stream = listener.accept().await.expect("accept");
            match read_async(&mut stream).await {
                Ok(FromGuest::Hello(hello)) => return (stream, hello),
                Ok(other) => panic!("a guest that says {other:?} first"),
                // It had connected to an earlier listener, or its node has ended.
                Err(FrameError::Closed | FrameError::Io(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    })
    .await
}

pub(super) async fn the_guest_says_hello_at_each_boot(bench: Bench) {
    let spec = bench.spec().await;
    bench.runtime.create(&spec).await.expect("create");
    let mut listener = bench.runtime.listen(&spec.key).await.expect("listen");
    bench.runtime.start(&spec.key).await.expect("start");
    let (_stream, first) = hello(&mut listener).await;
    bench.runtime.stop(&spec.key, Duration::ZERO).await.expect("stop");
    let mut listener = bench.runtime.listen(&spec.key).await.expect("listen");
    bench.runtime.start(&spec.key).await.expect("start again");
    let (_stream, second) = hello(&mut listener).await;
    assert_ne!(first.boot, second.boot);
    bench.remove(&spec.key).await;
}

/// As when the agent restarts: streams and listener are gone, the guest comes to the next one.
pub(super) async fn a_later_listener_takes_over(bench: Bench) {
    let key = bench.running().await;
    let mut earlier = bench.runtime.listen(&key).await.expect("listen");
    let (stream, first) = hello(&mut earlier).await;
    let mut later = bench.harness.runtime().listen(&key).await.expect("listen again");
    drop((stream, earlier));
    let (_stream, second) = hello(&mut later).await;
    assert_eq!(first.boot, second.boot);
    bench.remove(&key).await;
}

pub(super) async fn a_stream_ends_with_its_node(bench: Bench) {
    let key = bench.running().await;
    let mut listener = bench.runtime.listen(&key).await.expect("listen");
    let (mut stream, _) = hello(&mut listener).await;
    bench.harness.kill(&key).await;
    let end = async {
        loop {
            if read_async::<FromGuest>(&mut stream).await.is_err() {
                return;
            }
        }
    };
    soon("the stream ends", end).await;
    bench.remove(&key).await;
}
