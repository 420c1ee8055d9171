//! Driver settings of a veth.

use keel_net::ethtool::{self, Offload};

use crate::lab::pair;

#[test]
fn a_driver_is_named_and_its_offloads_are_switched() {
    let (left, _right) = pair();
    left.run(async || {
        assert_eq!(ethtool::driver("eth0").unwrap(), "veth");
        for offload in [Offload::TxChecksum, Offload::Gro, Offload::RxVlan] {
            for on in [true, false, false, true] {
                ethtool::switch("eth0", offload, on).unwrap();
                assert_eq!(ethtool::is_on("eth0", offload).unwrap(), on, "{offload:?}");
            }
        }
        let error = ethtool::driver("eth9").unwrap_err();
        assert_eq!(error.to_string(), "reading the driver's name on interface eth9");
    });
}
