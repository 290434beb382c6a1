//! A queue while a file sets its variables: in whatever order, it is put together when all are said.

use testyard_model::diagnostic::Position;
use testyard_model::impairment::{Queue, QueueLimit, Red};
use testyard_model::quantity::{Probability, Size};

use super::call::{Complaint, short};
use super::units;

/// All variables of a queue, with NS's defaults.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct QueueDraft {
    /// In packets, or in bytes.
    limit: u64,
    in_bytes: bool,
    is_red: bool,
    red: Red,
    /// Statements that mean something to RED alone.
    pub(super) of_red: Vec<Option<Position>>,
}

impl Default for QueueDraft {
    fn default() -> Self {
        Self { limit: 50, in_bytes: false, is_red: false, red: Red::NS, of_red: Vec::new() }
    }
}

/// Why a variable has no effect.
pub(super) const NOT_RED: &str = "the queue is not RED: set red_ 1 too";

/// Whether a variable means something to RED alone.
pub(super) fn is_of_red(variable: &str) -> bool {
    matches!(variable, "gentle_" | "thresh_" | "maxthresh_" | "q_weight_" | "linterm_")
}

impl QueueDraft {
    /// The draft of a queue that is said as a whole.
    pub(super) fn of(queue: Queue) -> Self {
        let (limit, in_bytes) = match queue.limit {
            QueueLimit::Packets(count) => (u64::from(count), false),
            QueueLimit::Bytes(size) => (size.bytes(), true),
        };
        let red = queue.red.unwrap_or(Red::NS);
        Self { limit, in_bytes, is_red: queue.red.is_some(), red, of_red: Vec::new() }
    }

    pub(super) fn queue(&self) -> Queue {
        let limit = if self.in_bytes {
            QueueLimit::Bytes(Size::from_bytes(self.limit))
        } else {
            QueueLimit::Packets(u32::try_from(self.limit).unwrap_or(u32::MAX))
        };
        Queue { limit, red: self.is_red.then_some(self.red) }
    }

    pub(super) const fn is_red(&self) -> bool {
        self.is_red
    }

    /// Sets a variable; false if a queue has none such.
    pub(super) fn set(&mut self, variable: &str, value: &str) -> Result<bool, Complaint> {
        let bad = || Complaint::error(format!("{:?} is no value of {variable}", short(value)));
        let number = || value.parse::<u32>().map_err(|_| bad());
        let flag = || match value {
            "0" | "false" => Ok(false),
            "1" | "true" => Ok(true),
            _ => Err(bad().suggest("it is 0 or 1")),
        };
        match variable {
            "limit_" => self.limit = number()?.into(),
            "queue-in-bytes_" => self.in_bytes = flag()?,
            "red_" => self.is_red = flag()?,
            "gentle_" => self.red.gentle = flag()?,
            "thresh_" => self.red.min = number()?,
            "maxthresh_" => self.red.max = number()?,
            "q_weight_" => self.red.weight = units::probability(value)?,
            "linterm_" => {
                let inverse = value.parse::<f64>().ok().filter(|inverse| *inverse >= 1.0).ok_or_else(bad)?;
                self.red.probability = Probability::from_ratio(1.0 / inverse).ok_or_else(bad)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}
