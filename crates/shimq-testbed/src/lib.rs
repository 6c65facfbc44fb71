//! Namespaces and cuts.
