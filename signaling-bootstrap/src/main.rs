//! meganet-bootstrap.
fn main() {}
