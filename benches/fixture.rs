//! The rows that both sides of the comparison work on: idle environments, droplet active, agent reporting, nothing to do.
//!
//! Shared by path between `benches/loop` and `benches/peer`, which live in different workspaces. Owns: every value that differs
//! from row to row, as a function of the row's number. Promises: the same number gives the same row on both sides.

use std::net::Ipv4Addr;
use uuid::Uuid;

/// Slugs and texts that are the same in every row.
pub mod same {
    pub const REGION: &str = "nyc3";
    pub const SIZE: &str = "s-1vcpu-1gb";
    pub const IMAGE: &str = "ubuntu-22-04-x64";
    pub const AGENT_VERSION: &str = "0.1.0";
    pub const ENGINE_VERSION: &str = "20.10.24";
    /// `(type, reason)` of the conditions of a settled environment, all of them true.
    pub const CONDITIONS: [(&str, &str); 4] = [
        ("DropletReady", "Active"),
        ("AgentReady", "HeartbeatsReceived"),
        ("Ready", "Ready"),
        ("Reconciled", "Reconciled"),
    ];
    /// When everything was made.
    pub const CREATED: &str = "2026-01-01T00:00:00Z";
    /// When everything was last seen. Far ahead, so that no run finds a heartbeat missed or an observation old.
    pub const SEEN: &str = "2126-01-01T00:00:00Z";
    /// In bytes.
    pub const MEMORY: (u64, u64) = (1_033_404_416, 612_265_984);
    pub const DISK: (u64, u64) = (25_215_504_384, 19_412_647_936);
    pub const LOAD: f64 = 0.25;
}

/// What differs.
#[derive(Clone, Debug)]
pub struct Row {
    pub environment: Uuid,
    pub user: Uuid,
    pub intent: Uuid,
    pub boot: Uuid,
    pub droplet: u64,
    pub address: Ipv4Addr,
    pub sequence: i64,
}

impl Row {
    pub fn new(number: u32) -> Self {
        Self {
            environment: environment(number),
            user: uuid(number, 1),
            intent: uuid(number, 2),
            boot: uuid(number, 3),
            droplet: 300_000_000 + u64::from(number),
            address: Ipv4Addr::from_bits(0x0a00_0000 + number),
            sequence: 1 + i64::from(number % 1000),
        }
    }
}

impl Row {
    /// SHA-256 of the agent's key, in hex.
    pub fn key(&self) -> String {
        let (high, low) = self.intent.as_u64_pair();
        let [first, second, third, fourth] = [high, low, !high, !low].map(mixed);
        format!("{first:016x}{second:016x}{third:016x}{fourth:016x}")
    }
}

/// The id of row `number`.
pub fn environment(number: u32) -> Uuid {
    uuid(number, 0)
}

fn uuid(number: u32, kind: u64) -> Uuid {
    let half = u64::from(number) * 8 + kind * 2;
    uuid::Builder::from_random_bytes((u128::from(mixed(half)) << 64 | u128::from(mixed(half + (1 << 40)))).to_be_bytes())
        .into_uuid()
}

/// splitmix64: spreads consecutive numbers over all bits.
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
