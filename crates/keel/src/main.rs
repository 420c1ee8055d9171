//! `keel`: the appliance's command line. Everything happens in the library, so that tests can run it.

use std::io::Write;
use std::process::ExitCode;

use keel_cli::Terminal;

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            // If that cannot be written either, the exit code still tells.
            let _ = writeln!(std::io::stderr(), "keel: the runtime did not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let terminal = Terminal::detect();
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let code = runtime.block_on(keel_cli::run(std::env::args_os(), &terminal, &mut out, &mut err));
    // A name lookup may still be waiting in its thread; nobody waits for it.
    runtime.shutdown_background();
    ExitCode::from(code)
}
