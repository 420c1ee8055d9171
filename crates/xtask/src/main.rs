//! The build helper behind the Makefile. It starts other programs (cargo, apt-get, the lab) and says what it does;
//! it holds no logic of the product and is not shipped.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool talks on its terminal")]

mod bench;
mod build;
mod command;
mod demo;
mod ebpf;
mod fuzz;
mod setup;
mod tally;
mod test;

use std::process::ExitCode;

use anyhow::{Result, bail};

use command::{cargo, run};

const USAGE: &str = "\
usage: cargo run -p xtask -- COMMAND        (or `make COMMAND`)

  setup   install what is missing on this machine (Debian, as root)
  ebpf    build the packet programs into target/bpf
  build   build every release binary into target/release
  lint    check formatting, run clippy
  test    lint, build, run every test, fuzz a little
  fuzz    look for inputs that break the packet logic or the configuration's readers
          [--seconds N] [TARGET…]
  demo    show the load balancer at work in a lab, until Ctrl-C
  bench   run the benchmarks, write docs/benchmarks.md and .json
  clean   remove what was built
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match start(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: &[String]) -> Result<()> {
    let (command, rest) =
        arguments.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
    match command {
        "setup" => setup::ensure(),
        "ebpf" => ebpf::build(),
        "build" => build::ready().and_then(|()| build::binaries()),
        "lint" => build::ready().and_then(|()| test::lint()),
        "test" => test::test(),
        "fuzz" => fuzz::Wanted::read(rest).and_then(|wanted| fuzz::fuzz(&wanted)),
        "demo" => demo::play(),
        "bench" => bench::measure(),
        "clean" => run(&mut cargo(&["clean"])),
        "image" => bail!("there is no appliance image yet; `make build` makes the programs"),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(())
        }
        other => bail!("there is no command `{other}`\n\n{USAGE}"),
    }
}
