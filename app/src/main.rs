//! meganet-app.
fn main() {}
