//! `keeld --detach`: every trace gone.
use std::fs;

use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use keel_dataplane::Dataplane;
use keel_net::{Netlink, nft};
use keel_store::{AtomicFile, RealFs};
use tracing::{info, warn};

use crate::{
    args::Args,
    former::{self, Former},
    interfaces::chain,
    retired,
};

/// Takes away what this node's keeld has put into the kernel.
pub(crate) async fn detach(args: &Args) -> Result<()> {
    let socket = keel_api::socket_path(&args.run_dir);
    if std::os::unix::net::UnixStream::connect(&socket).is_ok() {
        bail!(
            "keeld is running and would put everything back: stop it first (`systemctl stop keeld`, or `kill $(cat {})`)",
            args.run_dir.join("keeld.pid").display()
        );
    }
    let found = Dataplane::detach_all(&args.bpf_dir).context("removing the packet program")?;
    info!("{}", if found { "packet program and maps removed" } else { "there was no packet program" });
    let netlink = Netlink::connect().context("reaching the kernel's network tables")?;
    // One thing that can't be taken away is no reason to leave the others.
    let addresses = remove_addresses(args, &netlink).await;
    let routes = netlink.remove_all_ours().await.context("removing routes and rules");
    Former::open(args.run_dir.join(former::FILE)).put_back(&netlink).await;
    let counted = AtomicFile::on(&RealFs).remove(&args.run_dir.join(retired::FILE));
    if let Err(error) = counted {
        warn!("{}", chain(&error));
    }
    let rules = nft::remove().await.context("removing our nftables table");
    let routes = routes.map(drop);
    addresses.and(routes).and(rules)
}

async fn remove_addresses(args: &Args, netlink: &Netlink) -> Result<()> {
    let record = args.run_dir.join("addresses.json");
    let Ok(bytes) = fs::read(&record) else { return Ok(()) };
    let nets: Vec<IpNet> = serde_json::from_slice(&bytes).unwrap_or_default();
    let present = netlink.addresses().await?;
    let mut outcome = Ok(());
    for address in present.iter().filter(|a| nets.contains(&a.address)) {
        let removed = match netlink.link_by_index(address.interface).await {
            Ok(link) => netlink.remove_address(&link, address.address).await,
            Err(error) => Err(error),
        };
        match removed {
            Ok(()) => info!(address = %address.address, "floating address removed"),
            Err(error) => outcome = outcome.and(Err(error)),
        }
    }
    outcome?;
    fs::remove_file(&record).with_context(|| format!("removing {}", record.display()))
}
