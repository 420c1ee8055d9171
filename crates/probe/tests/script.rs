//! Scripts of the administrator.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use keel_pool::Outcome;
use keel_probe::{Answer, Asker, ScriptRunner, Trace, ask, serve_scripts};
use support::{Kept, place};
use tokio::net::UnixStream;

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn runner() -> ScriptRunner {
    let (here, there) = UnixStream::pair().unwrap();
    tokio::spawn(serve_scripts(there));
    ScriptRunner::new(here)
}

async fn asked(runner: &ScriptRunner, folder: &Path, health: &str) -> Answer {
    let kept = Kept { scripts: folder.to_owned(), ..Kept::default() };
    let question = kept.question(&format!("type = \"script\"\nscript = \"x.sh\"\n{health}")).unwrap();
    let asker = Asker { scripts: Some(runner.clone()), ..Asker::default() };
    ask(&question, &place(8080), &asker, &mut Trace::quiet()).await
}

#[tokio::test]
async fn a_script_gets_its_arguments_as_they_are_and_its_exit_code_counts() {
    let folder = tempfile::tempdir().unwrap();
    let runner = runner();
    write(folder.path(), "x.sh", "#!/bin/sh\necho \"$# $*\"\n");
    let answer = asked(&runner, folder.path(), "args = [\"; touch /tmp/owned\", \"$HOME `id`\"]").await;
    assert_eq!(answer.outcome, Some(Outcome::Good));
    assert_eq!(answer.reason, "6 192.0.2.80 80 127.0.0.1 8080 ; touch /tmp/owned $HOME `id`");

    write(folder.path(), "x.sh", "#!/bin/sh\necho working\necho queue is full >&2\nexit 3\n");
    let answer = asked(&runner, folder.path(), "").await;
    assert_eq!(
        (answer.outcome, answer.reason.as_str()),
        (Some(Outcome::Bad), "the script ended with 3: queue is full")
    );
}

#[tokio::test]
async fn a_script_that_hangs_is_killed_with_its_children_and_delays_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let runner = runner();
    let pids = folder.path().join("pids");
    let text = format!("#!/bin/sh\nsleep 3600 & echo $! > {0}\necho $$ >> {0}\nsleep 3600\n", pids.display());
    write(folder.path(), "x.sh", &text);
    let (slow, quick) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(slow);
    write(quick.path(), "x.sh", "#!/bin/sh\nexit 0\n");
    let hanging = asked(&runner, folder.path(), "timeout = \"700ms\"");
    let others = async {
        let answer = asked(&runner, quick.path(), "").await;
        assert_eq!(answer.outcome, Some(Outcome::Good));
        assert!(answer.took < Duration::from_millis(600), "{answer:?}");
    };
    let (answer, ()) = tokio::join!(hanging, others);
    assert_eq!(answer.outcome, Some(Outcome::Bad), "{answer:?}");
    let gone = || {
        let text = fs::read_to_string(&pids).unwrap();
        text.lines().all(|pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            status.is_empty() || status.contains("State:\tZ")
        })
    };
    for _ in 0..100 {
        if gone() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("something of it still runs");
}

#[tokio::test]
async fn whatever_it_writes_it_is_not_held_up_and_nothing_is_concluded_if_it_cannot_run() {
    let folder = tempfile::tempdir().unwrap();
    let runner = runner();
    write(folder.path(), "x.sh", "#!/bin/sh\nhead -c 20000000 /dev/zero\necho\necho done\n");
    let answer = asked(&runner, folder.path(), "").await;
    assert_eq!((answer.outcome, answer.reason.as_str()), (Some(Outcome::Good), "done"));
    write(folder.path(), "x.sh", "#!/no/such/interpreter\n");
    let answer = asked(&runner, folder.path(), "").await;
    assert_eq!(answer.outcome, None, "{answer:?}");
}

#[tokio::test]
async fn a_runner_that_has_died_is_named() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "x.sh", "#!/bin/sh\n");
    let (here, there) = UnixStream::pair().unwrap();
    let runner = ScriptRunner::new(here);
    drop(there);
    let answer = asked(&runner, folder.path(), "").await;
    assert_eq!(answer.outcome, None);
    assert!(answer.reason.contains("restart keeld"), "{answer:?}");
}
