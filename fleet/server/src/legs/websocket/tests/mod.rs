//! The leg between a dialler and a call, both played by the test.

mod endings;
mod stage;
mod talking;
mod wire;
