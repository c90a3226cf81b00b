//! What the command line's subcommands do. Each takes parsed options and writes to the output that it is given.

pub mod intercept;
