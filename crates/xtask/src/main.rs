//! The build helper behind the Makefile. It starts other programs (cargo, apt-get, the lab) and says what it does;
//! it holds no logic of the product and is not shipped.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool talks on its terminal")]

mod command;
mod ebpf;

use anyhow::{Result, bail};

const USAGE: &str = "\
usage: cargo run -p xtask -- COMMAND

  ebpf    build the packet programs into target/bpf
";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("ebpf") => ebpf::build(),
        Some("help" | "--help" | "-h") => {
            print!("{USAGE}");
            Ok(())
        }
        Some(other) => bail!("there is no command `{other}`\n\n{USAGE}"),
        None => bail!("which command?\n\n{USAGE}"),
    }
}
