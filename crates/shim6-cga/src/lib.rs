//! Who may claim a locator.
