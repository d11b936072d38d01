//! meganet-native-peer.
