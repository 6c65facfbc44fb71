//! The program `shimq`.

mod host;

fn main() {}
