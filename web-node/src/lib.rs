//! meganet-web-node.
