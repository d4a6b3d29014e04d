//! dtma
fn main() {}
