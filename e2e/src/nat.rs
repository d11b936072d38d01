//! Two private networks behind NATs of their own, and a public network between them, made of network namespaces. Nothing leaves
//! the machine.

use anyhow::{Context, Result, ensure};
use std::process::Command;

/// How a NAT chooses its outer ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nat {
    /// The same port for every destination: peers behind two such NATs can meet.
    KeepsPorts,
    /// Another for each destination ("symmetric").
    Symmetric,
}

/// The namespaces; gone when dropped.
pub struct Networks {
    prefix: String,
}

/// The public server's addresses, one in each NAT's outer network.
pub const SERVER: [&str; 2] = ["10.99.1.1", "10.99.2.1"];
const PARTS: [&str; 5] = ["server", "nat1", "nat2", "host1", "host2"];

fn run(program: &str, arguments: &str) -> Result<()> {
    let output = Command::new(program)
        .args(arguments.split_whitespace())
        .output()
        .with_context(|| format!("cannot run {program} (Debian: iproute2, nftables)"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {arguments}: {error}");
    Ok(())
}

impl Networks {
    /// Makes them; needs root.
    pub fn new(name: &str, nat: Nat) -> Result<Self> {
        let networks = Self { prefix: format!("mg{}{name}", std::process::id()) };
        for part in PARTS {
            let namespace = networks.namespace(part);
            run("ip", &format!("netns add {namespace}"))?;
            run("ip", &format!("-n {namespace} link set lo up"))?;
        }
        for side in [1, 2] {
            let (nat_part, host) = (format!("nat{side}"), format!("host{side}"));
            networks.connect(
                ("server", &format!("side{side}"), &format!("10.99.{side}.1")),
                (&nat_part, "outer", &format!("10.99.{side}.2")),
            )?;
            networks.connect(
                (&nat_part, "inner", &format!("192.168.{side}.1")),
                (&host, "eth0", &format!("192.168.{side}.2")),
            )?;
            run("ip", &format!("-n {} route add default via 10.99.{side}.1", networks.namespace(&nat_part)))?;
            run("ip", &format!("-n {} route add default via 192.168.{side}.1", networks.namespace(&host)))?;
            networks.translate(&nat_part, nat)?;
        }
        for part in ["server", "nat1", "nat2"] {
            let namespace = networks.namespace(part);
            run("ip", &format!("netns exec {namespace} sysctl -qw net.ipv4.ip_forward=1"))?;
        }
        Ok(networks)
    }

    /// The namespace of a part: `server`, `host1`, `host2`.
    #[must_use]
    pub fn namespace(&self, part: &str) -> String {
        format!("{}{part}", self.prefix)
    }

    fn connect(
        &self,
        (one, device, address): (&str, &str, &str),
        (other, peer, peer_address): (&str, &str, &str),
    ) -> Result<()> {
        let (one, other) = (self.namespace(one), self.namespace(other));
        run("ip", &format!("link add name {device} netns {one} type veth peer name {peer} netns {other}"))?;
        for (namespace, device, address) in [(one, device, address), (other, peer, peer_address)] {
            run("ip", &format!("-n {namespace} addr add {address}/24 dev {device}"))?;
            run("ip", &format!("-n {namespace} link set {device} up"))?;
        }
        Ok(())
    }

    /// Masquerades, and drops what nobody inside asked for, as home routers do.
    fn translate(&self, part: &str, nat: Nat) -> Result<()> {
        let namespace = self.namespace(part);
        let mode = if nat == Nat::Symmetric { "fully-random" } else { "" };
        for rule in [
            "add table ip nat".to_owned(),
            "add chain ip nat post { type nat hook postrouting priority 100 ; }".to_owned(),
            format!("add rule ip nat post oifname outer masquerade {mode}"),
            "add table ip gate".to_owned(),
            "add chain ip gate own { type filter hook input priority 0 ; }".to_owned(),
            "add rule ip gate own iifname outer ct state new drop".to_owned(),
            "add chain ip gate inner { type filter hook forward priority 0 ; }".to_owned(),
            "add rule ip gate inner iifname outer ct state new drop".to_owned(),
        ] {
            run("ip", &format!("netns exec {namespace} nft {rule}"))?;
        }
        Ok(())
    }
}

impl Drop for Networks {
    fn drop(&mut self) {
        for part in PARTS {
            // Those that were never made are not there.
            let _ = run("ip", &format!("netns del {}", self.namespace(part)));
        }
    }
}
