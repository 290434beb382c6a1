//! Queues of links in NS: a command for each thing that differs from what the link's own command has made.

use std::fmt::Write as _;

use testyard_model::impairment::{Queue, QueueLimit, Red};
use testyard_model::link::Link;
use testyard_model::quantity::Size;

use super::ns_link::Base;
use super::ns_names::Names;
use crate::exact::decimal;

/// NS's queue, where something of it is said.
pub(super) const QUEUE: Queue = Queue { limit: QueueLimit::Packets(50), red: None };

/// Queues of what members send.
pub(super) fn queues(text: &mut String, link: &Link, base: &mut Base, names: &Names<'_>) {
    for (member, (to, _)) in link.members.iter().zip(base) {
        let Some(queue) = member.to_link.queue.filter(|_| names.is_first(link, &member.interface)) else {
            continue;
        };
        let object = format!("[{} queue]", names.half(link, &member.interface));
        let (lines, made) = queue_lines(to.queue, queue);
        for line in lines {
            let _ = writeln!(text, "{object} set {line}");
        }
        to.queue = Some(made);
    }
}

/// What makes one queue of another, as far as NS can say it, and what it becomes.
fn queue_lines(base: Option<Queue>, want: Queue) -> (Vec<String>, Queue) {
    let mut made = base.unwrap_or(QUEUE);
    let mut lines = Vec::new();
    match want.limit {
        QueueLimit::Packets(count) if made.limit != want.limit => lines.push(format!("limit_ {count}")),
        QueueLimit::Bytes(size) => {
            lines.push("queue-in-bytes_ 1".to_owned());
            lines.push(format!("limit_ {}", u32::try_from(size.bytes()).unwrap_or(u32::MAX)));
        }
        QueueLimit::Packets(_) => {}
    }
    made.limit = match want.limit {
        QueueLimit::Bytes(size) => QueueLimit::Bytes(Size::from_bytes(size.bytes().min(u32::MAX.into()))),
        packets @ QueueLimit::Packets(_) => packets,
    };
    match (&mut made.red, want.red) {
        (_, None) => {
            if made.red.take().is_some() {
                lines.push("red_ 0".to_owned());
            }
        }
        (red, Some(wanted)) => {
            if red.is_none() {
                lines.push("red_ 1".to_owned());
            }
            let mut is = red.unwrap_or(Red::NS);
            lines.extend(parameters(&mut is, &wanted));
            *red = Some(is);
        }
    }
    // A limit that is said is told from one that is not only so.
    if lines.is_empty() && base.is_none() {
        lines.push("limit_ 50".to_owned());
    }
    (lines, made)
}

fn parameters(is: &mut Red, want: &Red) -> Vec<String> {
    let mut lines = Vec::new();
    if want.min != is.min {
        lines.push(format!("thresh_ {}", want.min));
        is.min = want.min;
    }
    if want.max != is.max {
        lines.push(format!("maxthresh_ {}", want.max));
        is.max = want.max;
    }
    // Its inverse is said: what never happens has none.
    if want.probability != is.probability && !want.probability.is_never() {
        lines.push(format!("linterm_ {}", 1e9 / want.probability.parts_per_billion() as f64));
        is.probability = want.probability;
    }
    if want.weight != is.weight {
        lines.push(format!("q_weight_ {}", decimal(want.weight.parts_per_billion().into(), 9)));
        is.weight = want.weight;
    }
    if want.gentle != is.gentle {
        lines.push(format!("gentle_ {}", u8::from(want.gentle)));
        is.gentle = want.gentle;
    }
    lines
}
