//! `testyard up` and its sisters at a testbed whose nodes and links are only pretended: what they wait for, what they tell, and
//! how they end. No root, no engine.
#![allow(clippy::unwrap_used)]

mod live {
    mod bed;
    mod changes;
    mod listening;
    mod waiting;
}
