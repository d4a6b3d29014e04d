//! toolplane
fn main() {}
