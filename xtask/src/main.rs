//! podiam chores
fn main() {}
