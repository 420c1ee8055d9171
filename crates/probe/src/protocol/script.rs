//! Scripts of the administrator: called with virtual address and port, server address and port, and what the
//! configuration adds. Exit code 0 means that the server works.
use std::time::Duration;

use keel_model::{ScriptCheck, format_duration};

use crate::{
    Asker, Fault, Place, Question, Trace,
    ask::Finding,
    scripts::{ScriptCall, ScriptEnd},
    text::{SHOWN, shown},
};

pub(crate) async fn check(
    question: &Question,
    place: &Place,
    script: &ScriptCheck,
    asker: &Asker,
    trace: &mut Trace,
) -> Result<Finding, Fault> {
    let Some(runner) = &asker.scripts else {
        return Err(Fault::Unable("no script may run here".to_owned()));
    };
    let Some(path) = &question.script else { return Err(Fault::Unable("the script is gone".to_owned())) };
    let own = [
        place.vip.to_string(),
        place.vip_port.to_string(),
        place.server.ip().to_string(),
        place.server.port().to_string(),
    ];
    let args: Vec<String> = own.into_iter().chain(script.args.iter().cloned()).collect();
    trace.begin("waiting for the script");
    trace.note(|| format!("running {} {}", script.script, args.join(" ")));
    let limit_ms = u64::try_from(question.timeout.as_millis()).unwrap_or(u64::MAX);
    let service = format!("{} {}", place.vip, place.vip_port);
    let call = ScriptCall { path: path.clone(), args, service, limit_ms };
    let end = runner.run(call).await.map_err(Fault::Unable)?;
    if let ScriptEnd::Ended { output, .. } = &end {
        trace.note(|| format!("it wrote: {}", shown(output.as_bytes(), 1024)));
    }
    judge(end, question.timeout)
}

fn judge(end: ScriptEnd, limit: Duration) -> Result<Finding, Fault> {
    match end {
        ScriptEnd::Ended { code: Some(0), output } => Ok(Finding::good(match last_line(&output) {
            "" => "the script says yes".to_owned(),
            line => shown(line.as_bytes(), SHOWN),
        })),
        ScriptEnd::Ended { code: Some(126 | 127), output } => Err(Fault::Unable(format!(
            "the script could not run: {}",
            shown(last_line(&output).as_bytes(), SHOWN)
        ))),
        ScriptEnd::Ended { code, output } => {
            let how = code.map_or_else(
                || "the script was killed".to_owned(),
                |code| format!("the script ended with {code}"),
            );
            Err(Fault::unexpected(match last_line(&output) {
                "" => how,
                line => format!("{how}: {}", shown(line.as_bytes(), SHOWN)),
            }))
        }
        ScriptEnd::TimedOut => {
            let limit = format_duration(limit);
            Err(Fault::unexpected(format!("the script took longer than {limit} and was killed")))
        }
        ScriptEnd::NotStarted { why } => Err(Fault::Unable(format!("the script can't be started: {why}"))),
    }
}

fn last_line(output: &str) -> &str {
    output.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().trim()
}
