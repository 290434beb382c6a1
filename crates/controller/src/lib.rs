//! The life of slices: allocate, provision, act, renew, delete, expire; keeps hosts in step.

#![forbid(unsafe_code)]

pub mod api;
