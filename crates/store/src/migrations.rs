//! The schema's versions, in the program. A version that has been released is never edited: the next one changes it.
#![allow(missing_docs, unreachable_pub)]

refinery::embed_migrations!("migrations");
