//! The module's root and its parts together, on texts.
