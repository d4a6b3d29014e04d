//! reasoning-mcp-server
fn main() {}
