//! NFQUEUE and nf_tables.
