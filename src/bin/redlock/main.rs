//! The `redlock` tool.
fn main() {}
