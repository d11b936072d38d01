//! meganet-e2e.
