//! The server as OpenSSH's programs, rsync and Ansible meet it. Needs root: each session becomes another user.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod files;
mod forwards;
mod login;
mod programs;
mod support;
mod tools;
