//! Has the crate rebuilt when a migration is added: the embedding macro sees only the files that were there before.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
