//! `wss` with a certificate from files: who trusts it gets in, who does not is told why, and what is none is refused.

use crate::support::{Server, failure, program};
use libp2p::{
    Multiaddr, PeerId, Transport as _,
    core::{
        Endpoint,
        muxing::StreamMuxerBox,
        transport::{Boxed, DialOpts, PortUse},
        upgrade::Version,
    },
    identity::Keypair,
    noise, tcp, yamux,
};
use libp2p_websocket::tls;
use rcgen::CertifiedKey;
use std::{error::Error, fs, io, iter, path::Path};

const LISTEN: &str = "/ip4/127.0.0.1/tcp/0/wss";
/// What is in the address is what the certificate must be of.
const HOST: &str = "127.0.0.1";
/// PEM of a private key in form alone.
const NO_KEY: &str = "-----BEGIN PRIVATE KEY-----\nAAECAw==\n-----END PRIVATE KEY-----\n";

type Dialler = Boxed<(PeerId, StreamMuxerBox)>;

fn certificate() -> CertifiedKey {
    rcgen::generate_simple_self_signed(vec![HOST.to_owned()]).unwrap()
}

/// Writes a certificate and a key; the arguments that name them.
fn arguments(dir: &Path, certificate: &CertifiedKey, key: &str) -> Vec<String> {
    let (certificate_path, key_path) = (dir.join("tls.pem"), dir.join("tls.key"));
    fs::write(&certificate_path, certificate.cert.pem()).unwrap();
    fs::write(&key_path, key).unwrap();
    let [certificate, key] = [certificate_path, key_path].map(|path| path.into_os_string().into_string().unwrap());
    ["--p2p-listen", LISTEN, "--tls-certificate", &certificate, "--tls-key", &key].map(str::to_owned).into()
}

/// A client that trusts this certificate.
fn trusting(certificate: &CertifiedKey) -> Dialler {
    let identity = Keypair::generate_ed25519();
    let mut trust = tls::Config::builder();
    trust.add_trust(&tls::Certificate::new(certificate.cert.der().to_vec())).unwrap();
    let mut websocket = libp2p_websocket::Config::new(tcp::tokio::Transport::new(tcp::Config::default()));
    websocket.set_tls_config(trust.finish());
    let authenticated = websocket.upgrade(Version::V1Lazy).authenticate(noise::Config::new(&identity).unwrap());
    authenticated.multiplex(yamux::Config::default()).boxed()
}

/// MegaNet's own, which trusts whom browsers trust.
fn own() -> Dialler {
    meganet_transport::build(&Keypair::generate_ed25519(), meganet_transport::Options::default()).unwrap().transport
}

async fn dial(mut dialler: Dialler, address: &Multiaddr) -> io::Result<(PeerId, StreamMuxerBox)> {
    let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
    dialler.dial(address.clone(), options).expect("an address to dial").await
}

/// What an error says, with its causes.
fn text(error: &io::Error) -> String {
    let causes = iter::successors(Some(error as &dyn Error), |error| (*error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_trusts_the_certificate_gets_in_and_who_does_not_is_told_why() {
    let dir = tempfile::tempdir().unwrap();
    let made = certificate();
    let given = arguments(dir.path(), &made, &made.key_pair.serialize_pem());
    let server = Server::start_in(dir, &given.iter().map(String::as_str).collect::<Vec<_>>());
    let addresses = server.ready["addresses"].as_array().unwrap();
    let address = addresses.iter().find_map(|address| address.as_str().filter(|address| address.contains("/wss")));
    let address: Multiaddr = address.unwrap().parse().unwrap();

    for dialler in [own(), trusting(&certificate())] {
        let error = dial(dialler, &address).await.expect_err("nobody vouches for it");
        assert!(text(&error).contains("invalid peer certificate"), "{}", text(&error));
    }
    // Those who turned away keep nobody out.
    let (peer, _connection) = dial(trusting(&made), &address).await.unwrap();
    assert_eq!(server.ready["peer_id"], peer.to_string());
}

#[test]
fn a_key_that_is_none_or_of_another_certificate_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for key in [NO_KEY.to_owned(), certificate().key_pair.serialize_pem()] {
        let mut command = program(dir.path());
        command.args(["--listen", "127.0.0.1:0"]).args(arguments(dir.path(), &certificate(), &key));
        let message = failure(command);
        assert!(message.contains("the TLS certificate or its key for wss cannot be used"), "{message}");
    }
}
