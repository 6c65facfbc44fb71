//! Hosts on a virtual clock.
