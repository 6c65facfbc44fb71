//! nf_tables: the table that decides which packets reach a queue.
