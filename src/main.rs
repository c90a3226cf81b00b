//! The podiam command.
fn main() {}
