//! What the mechanisms cost, measured beside the plain way to do the same: `cargo bench`.
