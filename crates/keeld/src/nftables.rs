//! Our rules of nftables: what is wanted, what is in force.
use keel_net::nft::{self, AutoNat, Rules};

use crate::node::Node;

impl Node {
    fn nftables(&self) -> Rules {
        let interfaces = self.cluster.layer4.autonat.clone();
        // Without an interface the addresses make no difference.
        let virtual_ips = match interfaces.is_empty() {
            true => Vec::new(),
            false => self.cluster.services.iter().map(|s| s.address).collect(),
        };
        Rules { autonat: AutoNat { interfaces, virtual_ips }, redirects: self.fallback.redirects() }
    }

    /// Puts our rules in force, if they aren't: somebody may have flushed them.
    pub(crate) async fn apply_nftables(&mut self) {
        let wanted = self.nftables();
        let in_place = wanted.is_empty() || nft::is_there();
        if in_place && self.nftables.as_ref() == Some(&wanted) {
            return;
        }
        match wanted.apply().await {
            Ok(()) => {
                self.nftables = Some(wanted);
                self.succeed("nftables");
            }
            Err(error) => {
                // One that didn't end in time may have done it all the same.
                self.nftables = None;
                self.fail("nftables", &error);
            }
        }
    }
}
