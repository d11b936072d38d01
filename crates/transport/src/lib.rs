//! meganet-transport.
