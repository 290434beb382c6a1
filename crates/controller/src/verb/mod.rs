//! One file a verb. Each works out what a slice becomes and changes nothing itself.

mod allocate;
mod delete;
mod offer;
mod perform;
mod provision;
mod read;
mod renew;
mod shutdown;
mod users;
