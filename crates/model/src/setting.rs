//! Changes of impairments, as people write them on command lines and in files.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::impairment::{Distribution, Impairment, Jitter, Loss, Queue, QueueLimit, Red};
use crate::quantity::{Probability, QuantityError, Rate, Span};

/// One change of an impairment, as people write it: `delay=50ms`, `loss=none`.
///
/// | key | value |
/// | --- | --- |
/// | `rate` | `10Mbit`, or `none` |
/// | `delay` | `50ms` |
/// | `jitter` | `5ms`, `5ms normal`, or `none` |
/// | `loss` | `1%`, `burst 1% 25%` (enter, leave), `every 100`, or `none` |
/// | `duplicate`, `reorder`, `corrupt` | `0.1%`, or `none` |
/// | `queue` | `50`, `50 packets`, `64KiB`, with ` red` (NS's parameters) or ` red 4-15 10% 0.2%` (thresholds, chance at the upper one, weight of the newest length) behind, with ` gentle` behind that, or `none` |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Setting {
    /// The rate; as fast as can be if none.
    Rate(Option<Rate>),
    /// The delay.
    Delay(Span),
    /// How it varies.
    Jitter(Option<Jitter>),
    /// Which packets are lost.
    Loss(Option<Loss>),
    /// How likely one comes twice.
    Duplicate(Probability),
    /// How likely one overtakes.
    Reorder(Probability),
    /// How likely one is damaged.
    Corrupt(Probability),
    /// What waits.
    Queue(Option<Queue>),
}

/// Why a text is no [`Setting`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// There is no `=`.
    #[error("{0:?} is no setting: write KEY=VALUE, like delay=50ms or loss=1%")]
    Form(String),
    /// The key is not known.
    #[error("there is no setting {key:?}{}", like(.key))]
    Key {
        /// What was given, shortened.
        key: String,
    },
    /// The value does not fit the key.
    #[error("{key}: {error}")]
    Quantity {
        /// Whose value.
        key: &'static str,
        /// What is wrong.
        error: QuantityError,
    },
    /// The value has another form than its key wants.
    #[error("{key}={value}: {expected}")]
    Value {
        /// Whose value.
        key: &'static str,
        /// What was given, shortened.
        value: String,
        /// What is good.
        expected: &'static str,
    },
}

/// Every key of a [`Setting`].
pub const SETTING_KEYS: [&str; 8] =
    ["rate", "delay", "jitter", "loss", "duplicate", "reorder", "corrupt", "queue"];

fn like(key: &str) -> String {
    crate::suggest::closest(key, SETTING_KEYS).map_or_else(
        || format!(": it can be {}", SETTING_KEYS.join(", ")),
        |meant| format!(": did you mean {meant}?"),
    )
}

impl Setting {
    /// Makes the change.
    pub const fn apply(self, impairment: &mut Impairment) {
        match self {
            Self::Rate(rate) => impairment.rate = rate,
            Self::Delay(delay) => impairment.delay = delay,
            Self::Jitter(jitter) => impairment.jitter = jitter,
            Self::Loss(loss) => impairment.loss = loss,
            Self::Duplicate(chance) => impairment.duplicate = chance,
            Self::Reorder(chance) => impairment.reorder = chance,
            Self::Corrupt(chance) => impairment.corrupt = chance,
            Self::Queue(queue) => impairment.queue = queue,
        }
    }

    /// The change of the same key to what it is where nothing is done.
    #[must_use]
    pub const fn cleared(self) -> Self {
        match self {
            Self::Rate(_) => Self::Rate(None),
            Self::Delay(_) => Self::Delay(Span::ZERO),
            Self::Jitter(_) => Self::Jitter(None),
            Self::Loss(_) => Self::Loss(None),
            Self::Duplicate(_) => Self::Duplicate(Probability::NEVER),
            Self::Reorder(_) => Self::Reorder(Probability::NEVER),
            Self::Corrupt(_) => Self::Corrupt(Probability::NEVER),
            Self::Queue(_) => Self::Queue(None),
        }
    }

    /// Whether both are of the same key.
    #[must_use]
    pub fn is_like(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }

    /// The change of one key to a value; see the type for the grammar.
    ///
    /// # Errors
    /// [`SettingError`] with the key, and what is good.
    pub fn new(key: &str, value: &str) -> Result<Self, SettingError> {
        let value = value.trim();
        let none = value == "none";
        Ok(match key.trim() {
            "rate" if none => Self::Rate(None),
            "rate" => Self::Rate(Some(quantity("rate", value)?)),
            "delay" if none => Self::Delay(Span::ZERO),
            "delay" => Self::Delay(quantity("delay", value)?),
            "jitter" if none => Self::Jitter(None),
            "jitter" => Self::Jitter(Some(jitter(value)?)),
            "loss" if none => Self::Loss(None),
            "loss" => Self::Loss(Some(loss(value)?)),
            "duplicate" => Self::Duplicate(chance("duplicate", value)?),
            "reorder" => Self::Reorder(chance("reorder", value)?),
            "corrupt" => Self::Corrupt(chance("corrupt", value)?),
            "queue" if none => Self::Queue(None),
            "queue" => Self::Queue(Some(queue(value)?)),
            other => return Err(SettingError::Key { key: short(other) }),
        })
    }
}

fn quantity<T: FromStr<Err = QuantityError>>(key: &'static str, value: &str) -> Result<T, SettingError> {
    value.parse().map_err(|error| SettingError::Quantity { key, error })
}

fn chance(key: &'static str, value: &str) -> Result<Probability, SettingError> {
    if value == "none" { Ok(Probability::NEVER) } else { quantity(key, value) }
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

fn unexpected(key: &'static str, value: &str, expected: &'static str) -> SettingError {
    SettingError::Value { key, value: short(value), expected }
}

fn jitter(value: &str) -> Result<Jitter, SettingError> {
    let (spread, distribution) = match value.split_once(char::is_whitespace) {
        None => (value, Distribution::Uniform),
        Some((spread, name)) => {
            let distribution = match name.trim() {
                "uniform" => Distribution::Uniform,
                "normal" => Distribution::Normal,
                "exponential" => Distribution::Exponential,
                _ => {
                    return Err(unexpected(
                        "jitter",
                        value,
                        "the word behind the time is uniform, normal or exponential",
                    ));
                }
            };
            (spread, distribution)
        }
    };
    Ok(Jitter { spread: quantity("jitter", spread)?, distribution })
}

fn loss(value: &str) -> Result<Loss, SettingError> {
    const EXPECTED: &str = "write 1%, burst 1% 25% (the chances that one begins and ends), or every 100";
    let words: Vec<&str> = value.split_whitespace().collect();
    match words.as_slice() {
        [chance] => Ok(Loss::Random(quantity("loss", chance)?)),
        ["burst", enter, leave] => {
            Ok(Loss::Burst { enter: quantity("loss", enter)?, leave: quantity("loss", leave)? })
        }
        ["every", nth] => nth.parse().map(Loss::Every).map_err(|_| unexpected("loss", value, EXPECTED)),
        _ => Err(unexpected("loss", value, EXPECTED)),
    }
}

fn queue(value: &str) -> Result<Queue, SettingError> {
    const EXPECTED: &str = "write 50 packets or 64KiB, and red behind it for random early detection, like red 5-15 10% 0.2% gentle";
    let unexpected = || unexpected("queue", value, EXPECTED);
    let words: Vec<&str> = value.split_whitespace().collect();
    let (words, early) = match words.iter().position(|word| *word == "red") {
        Some(at) => (&words[..at], Some(&words[at + 1..])),
        None => (&words[..], None),
    };
    let limit = match words {
        [count] | [count, "packets" | "packet"] if count.bytes().all(|b| b.is_ascii_digit()) => {
            QueueLimit::Packets(count.parse().map_err(|_| unexpected())?)
        }
        [size] => QueueLimit::Bytes(quantity("queue", size)?),
        _ => return Err(unexpected()),
    };
    let Some(early) = early else { return Ok(Queue { limit, red: None }) };
    let (early, gentle) = match early {
        [rest @ .., "gentle"] => (rest, true),
        rest => (rest, false),
    };
    let mut red = Red { gentle, ..Red::for_limit(limit) };
    let mut rest = early.iter();
    if let Some(thresholds) = rest.next() {
        let (min, max) = thresholds.split_once('-').ok_or_else(unexpected)?;
        let number = |text: &str| text.parse::<u32>().map_err(|_| unexpected());
        (red.min, red.max) = (number(min)?, number(max)?);
    }
    if let Some(chance) = rest.next() {
        red.probability = quantity("queue", chance)?;
    }
    if let Some(weight) = rest.next() {
        red.weight = quantity("queue", weight)?;
    }
    if rest.next().is_some() {
        return Err(unexpected());
    }
    Ok(Queue { limit, red: Some(red) })
}

impl FromStr for Setting {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Self, SettingError> {
        let (key, value) = text.split_once('=').ok_or_else(|| SettingError::Form(short(text)))?;
        Self::new(key, value)
    }
}

impl TryFrom<String> for Setting {
    type Error = SettingError;

    fn try_from(text: String) -> Result<Self, SettingError> {
        text.parse()
    }
}

impl From<Setting> for String {
    fn from(setting: Setting) -> Self {
        setting.to_string()
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn optional<T: fmt::Display>(f: &mut fmt::Formatter<'_>, key: &str, value: Option<T>) -> fmt::Result {
            match value {
                Some(value) => write!(f, "{key}={value}"),
                None => write!(f, "{key}=none"),
            }
        }
        match self {
            Self::Rate(rate) => optional(f, "rate", *rate),
            Self::Delay(delay) => write!(f, "delay={delay}"),
            Self::Jitter(jitter) => optional(f, "jitter", *jitter),
            Self::Loss(loss) => optional(f, "loss", *loss),
            Self::Duplicate(chance) => write!(f, "duplicate={chance}"),
            Self::Reorder(chance) => write!(f, "reorder={chance}"),
            Self::Corrupt(chance) => write!(f, "corrupt={chance}"),
            Self::Queue(queue) => optional(f, "queue", *queue),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_read_and_show() {
        for (text, shown) in [
            ("rate=10Mb", "rate=10Mbit"),
            ("rate=none", "rate=none"),
            ("delay=0", "delay=0s"),
            ("jitter=5ms", "jitter=5ms uniform"),
            ("jitter=5ms normal", "jitter=5ms normal"),
            ("loss=1%", "loss=1%"),
            ("loss=burst 1% 25%", "loss=burst 1% 25%"),
            ("loss=every 10", "loss=every 10"),
            ("reorder=none", "reorder=0%"),
            ("queue=50", "queue=50 packets"),
            ("queue=64KiB red", "queue=64KiB red"),
            ("queue=50 red gentle", "queue=50 packets red gentle"),
            ("queue=50 red 5-15 10% 0.2%", "queue=50 packets red"),
            ("queue=50 red 4-15", "queue=50 packets red 4-15 10% 0.2%"),
            ("queue=64KiB red 5-15 7.1% 1% gentle", "queue=64KiB red 5-15 7.1% 1% gentle"),
        ] {
            let setting: Setting = text.parse().unwrap();
            assert_eq!(setting.to_string(), shown, "{text}");
            assert_eq!(shown.parse::<Setting>().unwrap(), setting, "{text}");
        }
    }

    #[test]
    fn settings_that_are_none_say_how() {
        let error = |text: &str| text.parse::<Setting>().unwrap_err().to_string();
        assert_eq!(error("delay"), "\"delay\" is no setting: write KEY=VALUE, like delay=50ms or loss=1%");
        assert_eq!(error("dealy=5ms"), "there is no setting \"dealy\": did you mean delay?");
        assert!(error("bandwidth=5").contains("it can be rate, delay"), "{}", error("bandwidth=5"));
        assert!(error("delay=5").contains("like 50ms"), "{}", error("delay=5"));
        assert!(error("loss=every 0").contains("every 100"), "{}", error("loss=every 0"));
        for text in ["queue=50 red 4", "queue=50 red 4-15 10% 0.2% 1%", "queue=red", "queue=50 gentle"] {
            assert!(error(text).contains("like red 5-15"), "{}", error(text));
        }
        assert!(error("jitter=5ms bell").contains("normal"), "{}", error("jitter=5ms bell"));
    }
}
