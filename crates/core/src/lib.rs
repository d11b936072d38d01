//! meganet-core.
