//! The program `shimq`.

fn main() {}
