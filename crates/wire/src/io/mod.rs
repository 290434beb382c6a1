//! The wire at work: threads that move frames, and who tells them what to be.

pub(crate) mod clock;
pub(crate) mod port;
pub(crate) mod reaper;
pub(crate) mod supervisor;
pub(crate) mod way;
pub(crate) mod worker;
