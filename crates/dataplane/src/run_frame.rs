//! The live program on one frame of our own: the self-test, the measurements and the tests of the packet path. Counters
//! and tables change as they would for a packet from the wire, but nothing is sent.
use std::time::Duration;

use aya::programs::{Program, TestRun, TestRunOptions};

use crate::{Dataplane, DataplaneError, error::Result};

/// Loopback: the interface the kernel assumes for a test run that names none.
const LOOPBACK: u32 = 1;

/// Room for what the program puts in front of a frame.
const GROWTH: usize = 256;

/// What the program decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameVerdict {
    /// The program failed.
    Aborted,
    /// Dropped.
    Drop,
    /// Left to the kernel.
    Pass,
    /// Back out of the interface it came in by.
    Transmit,
    /// Out of another interface.
    Redirect,
}

impl FrameVerdict {
    /// From an XDP action (`enum xdp_action`, linux/bpf.h).
    fn from_action(action: u32) -> Self {
        match action {
            1 => Self::Drop,
            2 => Self::Pass,
            3 => Self::Transmit,
            4 => Self::Redirect,
            _ => Self::Aborted,
        }
    }
}

/// The outcome of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameRun {
    /// What became of the frame.
    pub verdict: FrameVerdict,
    /// The frame afterwards.
    pub frame: Vec<u8>,
    /// How long the program took.
    pub took: Duration,
}

impl Dataplane {
    /// Runs the program on `frame` as if it had come in by the interface `ifindex` of this network namespace.
    ///
    /// # Errors
    /// There is no such interface, or the frame is shorter than an Ethernet header or longer than a page holds.
    pub fn run_frame(&self, frame: &[u8], ifindex: u32) -> Result<FrameRun> {
        let Some(Program::Xdp(program)) = self.ebpf.program("keel") else {
            return Err(DataplaneError::Missing { kind: "program", name: "keel" });
        };
        let mut out = vec![0; frame.len() + GROWTH];
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context = [0, frame.len() as u32, 0, ifindex, 0, 0];
        let context: Vec<u8> = context.into_iter().flat_map(u32::to_ne_bytes).collect();
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ctx_in: (ifindex != LOOPBACK).then_some(&context[..]),
            ..TestRunOptions::default()
        };
        let failed = |source| DataplaneError::Run { program: "keel", source };
        let done = program.test_run(options).map_err(failed)?;
        out.truncate(done.data_size_out as usize);
        Ok(FrameRun {
            verdict: FrameVerdict::from_action(done.return_value),
            frame: out,
            took: done.duration,
        })
    }
}
