//! The kernel takes the programs, and what is left pinned is adopted.
use keel_abi::Config;
use keel_dataplane::{Adoption, Dataplane, Options, Sizes};

mod support;
use support::BpfFs;

#[test]
fn the_verifier_accepts_the_packet_programs() {
    let bpf = BpfFs::mount();
    let options = Options { bpf_dir: bpf.path(), sizes: Sizes::default() };
    let (dataplane, adoption) = Dataplane::open(&options).unwrap();
    assert_eq!(adoption, Adoption::Fresh);
    let instructions = dataplane.verified_instructions().unwrap();
    println!("verified instructions: {instructions}");
    assert!(instructions < 500_000, "older kernels need room below the limit of a million: {instructions}");
}

#[test]
fn a_second_process_adopts_the_pinned_maps() {
    let bpf = BpfFs::mount();
    let options = Options { bpf_dir: bpf.path(), sizes: Sizes::default() };
    let (mut first, _) = Dataplane::open(&options).unwrap();
    first.set_active(true).unwrap();
    drop(first);
    let limit = |bpf: &BpfFs| {
        let pin = bpf.path().join(format!("v{}/maps/CONFIG", keel_abi::LAYOUT));
        let map = aya::maps::Map::Array(aya::maps::MapData::from_pin(pin).unwrap());
        aya::maps::Array::<_, Config>::try_from(map).unwrap().get(&0, 0).unwrap().flood_per_second
    };
    let before = limit(&bpf);
    let half_open = options.sizes.half_open * 4;
    let options = Options { sizes: Sizes { half_open, ..options.sizes }, ..options };
    let (second, adoption) = Dataplane::open(&options).unwrap();
    assert_eq!(limit(&bpf), before, "the table that was found has the size that it has");
    assert_eq!(adoption, Adoption::Adopted);
    assert!(second.is_active().unwrap(), "the role stays what it was");
    assert!(Dataplane::detach_all(&bpf.path()).unwrap());
}
