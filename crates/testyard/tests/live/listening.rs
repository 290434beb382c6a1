//! Who listens hears of all that happens, also when the testbed ends and comes back; who leaves is not worked for any more.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;
use testyard_web::ClientError;
use testyard_web::api::{ChangeLink, Verified, Verify};

use super::bed::{Bed, until};

/// A command that goes on, and the lines that it prints.
struct Going(Child, Receiver<Value>);

impl Going {
    fn new(bed: &Bed, line: &str) -> Self {
        let mut child = bed.command(line).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (told, heard) = channel();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = told.send(serde_json::from_str(&line).unwrap());
            }
        });
        Self(child, heard)
    }

    fn next(&self) -> Value {
        self.1.recv_timeout(Duration::from_secs(30)).expect("it goes on")
    }

    fn until(&self, is: impl Fn(&Value) -> bool) -> Value {
        self.within(Duration::from_secs(30), is).expect("it goes on, and tells")
    }

    /// The first such line, if there is one before nothing is printed for so long.
    fn within(&self, silence: Duration, is: impl Fn(&Value) -> bool) -> Option<Value> {
        loop {
            let line = self.1.recv_timeout(silence).ok()?;
            if is(&line) {
                return Some(line);
            }
        }
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn change(bed: &Bed, action: &str, settings: &[&str]) {
    let settings = settings.iter().map(|setting| setting.parse().unwrap()).collect();
    let change = ChangeLink { action: action.to_owned(), settings, ..ChangeLink::default() };
    bed.block_on(bed.client().change_link("s", "a-b", &change)).unwrap();
}

#[test]
fn changes_of_links_are_heard_also_after_the_testbed_was_away() {
    let mut bed = Bed::new();
    bed.ok(&format!("up {}", bed.file(&["a", "b"])));
    let events = Going::new(&bed, "events s --json");
    let status = Going::new(&bed, "status s --watch --json");
    let is_up = |line: &Value| line["links"][0]["up"].as_bool().unwrap();
    assert!(is_up(&status.next()));
    // It may not listen yet when the first of them comes.
    let mut set = None;
    for number in 1.. {
        change(&bed, "set", &[&format!("delay={number}ms")]);
        set = events.within(Duration::from_millis(500), |event| event["kind"] == "link");
        if set.is_some() {
            break;
        }
    }
    let set = set.unwrap();
    assert_eq!((&set["link"], &set["state"]), (&"a-b".into(), &"set".into()));
    assert!(set["detail"].as_str().unwrap().starts_with("delay="), "{set}");
    events.until(|event| event["kind"] == "slice" && event["state"] == "converged");
    for action in ["down", "reset"] {
        bed.end();
        bed.fails("ls", 3);
        bed.serve();
        events.until(|event| event["kind"] == "missed" && event["state"] == "missed");
        change(&bed, action, &[]);
        events.until(|event| event["kind"] == "link" && event["state"] == action);
        status.until(|line| is_up(line) == (action == "reset"));
    }
}

#[test]
fn links_are_measured_only_for_who_is_there() {
    let bed = Bed::new();
    bed.ok(&format!("up {}", bed.file(&["a", "b"])));
    bed.hesitate(true);
    let verify = Verify { budget_ms: Some(1_000), ..Verify::default() };
    let mut lines = bed.block_on(bed.client().verify("s", &verify)).unwrap();
    assert!(matches!(bed.block_on(lines.next()).unwrap(), Some(Verified::Step { done: 0, .. })));
    drop(lines);
    bed.hesitate(false);
    until("measured again", || {
        let mut lines = bed.block_on(bed.client().verify("s", &verify)).unwrap();
        loop {
            match bed.block_on(lines.next()).unwrap() {
                Some(Verified::Step { .. }) => {}
                Some(Verified::Report(_)) => return true,
                Some(Verified::Refused(problem)) if problem.kind == "busy" => return false,
                other => panic!("{other:?}"),
            }
        }
    });
    let missing = bed.block_on(bed.client().report("t")).unwrap_err();
    assert!(matches!(missing, ClientError::Refused(problem) if problem.kind == "not_found"));
}
