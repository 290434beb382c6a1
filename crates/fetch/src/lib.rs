//! Downloads and archives of strangers: fetched and taken apart within limits, by nodes' guests and by hosts.
//!
//! Everything blocks, and nothing asks the C library, whose resolver loads parts of whatever image it runs in.
//!
//! | module | what |
//! | --- | --- |
//! | [`download`](mod@download) | over HTTP and HTTPS: bounded in bytes, time, redirects, and in where it may go |
//! | [`archive`] | tar, tar.gz and zip: bounded in bytes and entries, and no path leaves its folder |
//! | [`backoff`] | pauses that double |
//! | [`text`] | errors and foreign bytes as texts for people |

#![forbid(unsafe_code)]

pub mod archive;
pub mod backoff;
pub mod download;
#[doc(hidden)]
pub mod fuzzing;
pub mod text;
