//! What an interface has sent and received, whoever did.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};

/// The counters of one interface. The file stays that of the namespace in which it was opened.
#[derive(Debug)]
pub(super) struct Counters {
    file: File,
    device: String,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) received_bytes: u64,
    pub(super) received_packets: u64,
    pub(super) sent_bytes: u64,
    pub(super) sent_packets: u64,
}

impl Counted {
    /// Packets and bytes sent since `before`, less so many of this length.
    pub(super) fn sent_beside(self, before: Self, ours: u64, length: u16) -> (u64, u64) {
        beside((self.sent_packets, self.sent_bytes), (before.sent_packets, before.sent_bytes), ours, length)
    }

    /// Likewise received.
    pub(super) fn received_beside(self, before: Self, ours: u64, length: u16) -> (u64, u64) {
        let (now, then) =
            ((self.received_packets, self.received_bytes), (before.received_packets, before.received_bytes));
        beside(now, then, ours, length)
    }
}

fn beside(now: (u64, u64), then: (u64, u64), ours: u64, length: u16) -> (u64, u64) {
    let others = |now: u64, then: u64, ours: u64| now.saturating_sub(then).saturating_sub(ours);
    (others(now.0, then.0, ours), others(now.1, then.1, ours * u64::from(length)))
}

impl Counters {
    /// Of an interface in the calling thread's namespace.
    pub(super) fn open(device: &str) -> io::Result<Self> {
        Ok(Self { file: File::open("/proc/thread-self/net/dev")?, device: device.to_owned() })
    }

    /// As they are now; nothing if the interface is gone.
    pub(super) fn read(&mut self) -> io::Result<Counted> {
        self.file.rewind()?;
        let mut text = String::new();
        self.file.read_to_string(&mut text)?;
        Ok(parse(&text, &self.device).unwrap_or_default())
    }
}

fn parse(text: &str, device: &str) -> Option<Counted> {
    let of_device = |line: &str| {
        let (name, rest) = line.split_once(':')?;
        (name.trim() == device).then(|| rest.to_owned())
    };
    let line = text.lines().find_map(of_device)?;
    let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    Some(Counted {
        received_bytes: *numbers.first()?,
        received_packets: *numbers.get(1)?,
        sent_bytes: *numbers.get(8)?,
        sent_packets: *numbers.get(9)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table() {
        let text = "Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       2    0    0    0     0          0         0      100       2    0    0    0     0       0          0
  eth1: 1034 11    0    5    0     0          0         0     2088      22    0    0    0     0       0          0
";
        let counted =
            Counted { received_bytes: 1034, received_packets: 11, sent_bytes: 2088, sent_packets: 22 };
        assert_eq!(parse(text, "eth1"), Some(counted));
        assert_eq!(parse(text, "eth2"), None);
        assert_eq!(parse("eth1: 1 2", "eth1"), None);
    }
}
