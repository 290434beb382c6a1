//! The local commands as their users meet them: the real program, the real server, pretended nodes. No root, no engine.
//!
//! What a command does by way of ssh and scp is seen at programs of these names that stand in for them.

#![expect(clippy::unwrap_used, reason = "what helps a test fails as the test does")]

mod local {
    mod bed;
    mod captures;
    mod hosts;
    mod links;
    mod nodes;
    mod operating;
    mod slices;
    mod stand_in;
    mod topologies;
    mod tutorial;
}
