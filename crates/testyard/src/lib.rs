//! The library behind the `testyard` program: everything that its commands do, so that tests can do it too.

#![forbid(unsafe_code)]

pub mod am;
pub mod cli;
pub mod config;
pub mod credential;
pub mod doctor;
pub mod exit;
pub mod folder;
pub mod guest;
pub mod image;
pub mod init;
mod print;
pub mod reset;
pub mod serve;
