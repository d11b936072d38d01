//! meganet-node.
