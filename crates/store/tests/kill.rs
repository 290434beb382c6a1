//! kill -9: every write that was acknowledged before is there afterwards, and the store opens.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use support::{folder, slice};
use testyard_store::{Change, Store};

const CHILD: &str = "TESTYARD_STORE_KILL_CHILD";

/// Not a test of its own: the program that is killed. It says which writes were acknowledged.
#[test]
fn child() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Store::open(path.as_ref()).unwrap();
        let slices = store.load().await.unwrap().slices;
        let begin = slices.iter().map(|slice| slice.slice.tag.0.get()).max().unwrap_or(0) + 1;
        let mut clients = tokio::task::JoinSet::new();
        for client in 0..8 {
            let store = store.clone();
            clients.spawn(async move {
                for number in (begin + client..).step_by(8) {
                    let write = move |change: &Change<'_>| change.insert_slice(&slice(number));
                    if store.write(write, |&()| ()).await.is_ok() {
                        writeln!(std::io::stdout(), "written {number}").unwrap();
                    }
                }
            });
        }
        clients.join_all().await;
    });
}

#[tokio::test]
async fn acknowledged_writes_survive() {
    let (_folder, path) = folder();
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture", "--test-threads=1"])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let enough = acknowledged.len() + 150 + 37 * round;
        let number = |line: String| Some(line.rsplit_once("written ")?.1.parse::<u32>().expect("a number"));
        while acknowledged.len() < enough {
            acknowledged.extend(number(lines.next().expect("the child writes on").unwrap()));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let store = Store::open(&path).unwrap();
        let there: Vec<u32> =
            store.load().await.unwrap().slices.iter().map(|s| s.slice.tag.0.get()).collect();
        for number in &acknowledged {
            assert!(there.contains(number), "write {number} was acknowledged and is not there");
        }
    }
}
