//! meganet.
fn main() {}
