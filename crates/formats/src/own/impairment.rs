//! Impairments as settings of a map: `rate: 10Mbit`, `loss: 1%`, and how a LAN's are spread over its members.

use testyard_model::impairment::{Impairment, Loss, Queue, QueueLimit, Red};
use testyard_model::link::LinkKind;
use testyard_model::quantity::{Probability, Span};
use testyard_model::setting::{SETTING_KEYS, Setting};

use crate::remarks::Remarks;
use crate::shape::Shape;
use crate::tree::fields::{Fields, text};
use crate::tree::{Entry, Kind, START, Value};
use testyard_model::diagnostic::Severity;

/// The settings among the entries of a map, in order.
pub(super) fn settings(fields: &Fields<'_>, remarks: &mut Remarks) -> Vec<Setting> {
    let known = fields.entries().iter().filter(|entry| SETTING_KEYS.contains(&entry.key.as_str()));
    known.filter_map(|entry| setting(&entry.key, &entry.value, remarks)).collect()
}

/// The setting of one key.
pub(super) fn setting(key: &str, value: &Value, remarks: &mut Remarks) -> Option<Setting> {
    if key == "queue" && matches!(value.kind, Kind::Map(_)) {
        return queue(value, remarks).map(|queue| Setting::Queue(Some(queue)));
    }
    if value.kind == Kind::Null {
        remarks.error(value.at, format!("{key} has no value")).suggest("write none to have none");
        return None;
    }
    match Setting::new(key, text(value, key, remarks)?) {
        Ok(setting) => Some(setting),
        Err(error) => {
            remarks.error(value.at, error.to_string());
            None
        }
    }
}

/// `{limit: 50 packets, red: {min: 5, max: 15, probability: 10%, weight: 0.2%, gentle: false}}`; `red: true` is NS's, in the unit of the limit.
fn queue(value: &Value, remarks: &mut Remarks) -> Option<Queue> {
    let fields = Fields::read(value, "queue", &["limit", "red"], Severity::Error, remarks)?;
    let Some(limit) = fields.get("limit") else {
        remarks.error(value.at, "queue has no limit").suggest("like limit: 50 packets");
        return None;
    };
    let Some(Setting::Queue(Some(queue))) = setting("queue", limit, remarks) else { return None };
    let red = match fields.get("red").map(|red| (&red.kind, red)) {
        None | Some((Kind::Bool(false), _)) => None,
        Some((Kind::Bool(true), _)) => Some(Red::for_limit(queue.limit)),
        Some((_, red)) => {
            const KEYS: [&str; 5] = ["min", "max", "probability", "weight", "gentle"];
            let fields = Fields::read(red, "red", &KEYS, Severity::Error, remarks)?;
            let number = |key, default, remarks: &mut Remarks| match fields.get(key) {
                None => Some(default),
                Some(_) => fields.number::<u32>(key, "a number of the limit's unit, like 5", remarks),
            };
            let chance = |key, default, remarks: &mut Remarks| match fields.get(key) {
                None => Some(default),
                Some(_) => fields.parse::<Probability>(key, remarks),
            };
            let usual = Red::for_limit(queue.limit);
            Some(Red {
                min: number("min", usual.min, remarks)?,
                max: number("max", usual.max, remarks)?,
                probability: chance("probability", Red::NS.probability, remarks)?,
                weight: chance("weight", Red::NS.weight, remarks)?,
                gentle: fields.flag("gentle", remarks),
            })
        }
    };
    Some(Queue { red: red.or(queue.red), ..queue })
}

/// A setting as an entry of a map.
pub(super) fn entry(setting: Setting) -> Entry {
    let made = |key: &str, value| Entry { key: key.to_owned(), at: START, value };
    if let Setting::Queue(Some(Queue { limit, red: Some(red) })) = setting
        && red != Red::for_limit(limit)
    {
        let mut fields = vec![
            made("min", Value::number(red.min)),
            made("max", Value::number(red.max)),
            made("probability", Value::text(red.probability)),
            made("weight", Value::text(red.weight)),
        ];
        if red.gentle {
            fields.push(made("gentle", Value::made(Kind::Bool(true))));
        }
        let limit = match limit {
            QueueLimit::Packets(count) => format!("{count} packets"),
            QueueLimit::Bytes(size) => size.to_string(),
        };
        let queue = vec![made("limit", Value::text(limit)), made("red", Value::made(Kind::Map(fields)))];
        return made("queue", Value::made(Kind::Map(queue)));
    }
    let text = setting.to_string();
    let (key, value) = text.split_once('=').unwrap_or((&text, ""));
    // `uniform` is what jitter is without a word.
    made(key, Value::text(value.strip_suffix(" uniform").unwrap_or(value)))
}

/// What turns one impairment into another.
pub(crate) fn difference(from: &Impairment, to: &Impairment) -> Vec<Setting> {
    let mut settings = Vec::new();
    let mut add = |differs: bool, setting: Setting| {
        if differs {
            settings.push(setting);
        }
    };
    add(from.rate != to.rate, Setting::Rate(to.rate));
    add(from.delay != to.delay, Setting::Delay(to.delay));
    add(from.jitter != to.jitter, Setting::Jitter(to.jitter));
    add(from.loss != to.loss, Setting::Loss(to.loss));
    add(from.duplicate != to.duplicate, Setting::Duplicate(to.duplicate));
    add(from.reorder != to.reorder, Setting::Reorder(to.reorder));
    add(from.corrupt != to.corrupt, Setting::Corrupt(to.corrupt));
    add(from.queue != to.queue, Setting::Queue(to.queue));
    settings
}

/// What a link's own impairment is for each member: all of it where a packet enters a point-to-point link. Of a LAN
/// both ways have the rate, and half of delay and random loss each; the rest is done where a packet enters, and so is
/// a delay that varies or is skipped, since half of it would vary and be skipped otherwise.
pub(super) fn spread(whole: &Impairment, kind: LinkKind) -> (Impairment, Impairment) {
    if kind == LinkKind::PointToPoint {
        return (*whole, Impairment::default());
    }
    let is_random = matches!(whole.loss, Some(Loss::Random(_)));
    let shared = Impairment { loss: whole.loss.filter(|_| is_random), ..*whole };
    let (first, second) = Shape::of(&shared).0.halves();
    let (first, second) = (first.impairment(), second.impairment());
    let is_whole = whole.jitter.is_some() || !whole.reorder.is_never();
    let (to_delay, from_delay) =
        if is_whole { (whole.delay, Span::ZERO) } else { (first.delay, second.delay) };
    let to = Impairment { delay: to_delay, loss: if is_random { first.loss } else { whole.loss }, ..*whole };
    (to, Impairment { delay: from_delay, ..second })
}

/// The whole that spreads to these, if there is one.
pub(super) fn gathered(to: &Impairment, from: &Impairment, kind: LinkKind) -> Option<Impairment> {
    let whole = match kind {
        LinkKind::PointToPoint => *to,
        LinkKind::Lan => {
            let shape = Shape::of(to).0.then(&Shape::of(from).0).impairment();
            let is_random = matches!(from.loss, Some(Loss::Random(_)));
            Impairment { delay: shape.delay, loss: if is_random { shape.loss } else { to.loss }, ..*to }
        }
    };
    (spread(&whole, kind) == (*to, *from)).then_some(whole)
}
