//! Scripts of the administrator.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use keel_pool::Outcome;
use keel_probe::{Answer, Asker, Place, ScriptRunner, Trace, ask, serve_scripts};
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
    asked_of(80, runner, folder, health).await
}

/// The same for a server of the service with this port.
async fn asked_of(vip_port: u16, runner: &ScriptRunner, folder: &Path, health: &str) -> Answer {
    let kept = Kept { scripts: folder.to_owned(), ..Kept::default() };
    let question = kept.question(&format!("type = \"script\"\nscript = \"x.sh\"\n{health}")).unwrap();
    let asker = Asker { scripts: Some(runner.clone()), ..Asker::default() };
    ask(&question, &Place { vip_port, ..place(8080) }, &asker, &mut Trace::quiet()).await
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
    eventually_gone(&pids).await;
}

/// Waits until none of the processes runs whose numbers are in this file.
async fn eventually_gone(pids: &Path) {
    let gone = || {
        let text = fs::read_to_string(pids).unwrap();
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
async fn a_script_that_leaves_something_running_has_ended_when_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let runner = runner();
    let pids = folder.path().join("pids");
    let text = format!("#!/bin/sh\nsleep 3600 &\necho $! > {}\necho all is well\nexit 0\n", pids.display());
    write(folder.path(), "x.sh", &text);
    let answer = asked(&runner, folder.path(), "timeout = \"1s\"").await;
    assert_eq!((answer.outcome, answer.reason.as_str()), (Some(Outcome::Good), "all is well"));
    eventually_gone(&pids).await;
    // What leaves the group keeps what it writes to open.
    write(folder.path(), "x.sh", "#!/bin/sh\nsetsid sleep 2 &\necho full\nexit 1\n");
    let answer = asked(&runner, folder.path(), "timeout = \"1s\"").await;
    assert_eq!(
        (answer.outcome, answer.reason.as_str()),
        (Some(Outcome::Bad), "the script ended with 1: full")
    );
}

#[tokio::test]
async fn a_script_that_takes_too_long_says_so() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "x.sh", "#!/bin/sh\nsleep 3600\n");
    let answer = asked(&runner(), folder.path(), "timeout = \"300ms\"").await;
    assert_eq!(
        (answer.outcome, answer.reason.as_str()),
        (Some(Outcome::Bad), "the script took longer than 300ms and was killed")
    );
}

#[tokio::test]
async fn one_services_slow_scripts_take_no_other_services_servers_down() {
    let (slow, quick) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let runner = runner();
    let begun = slow.path().join("begun");
    write(slow.path(), "x.sh", &format!("#!/bin/sh\necho >> {}\nexec sleep 3600\n", begun.display()));
    write(quick.path(), "x.sh", "#!/bin/sh\nexit 0\n");
    let hanging = async |vip_port| {
        let asked = (0..80).map(|_| asked_of(vip_port, &runner, slow.path(), "timeout = \"4s\""));
        futures_util::future::join_all(asked).await
    };
    let once_running = async |count| {
        while fs::read(&begun).unwrap_or_default().len() < count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        asked_of(443, &runner, quick.path(), "timeout = \"1s\"").await
    };
    let (answers, other) = tokio::join!(hanging(80), once_running(48));
    assert_eq!(other.outcome, Some(Outcome::Good), "{other:?}");
    let bad = answers.iter().filter(|answer| answer.outcome == Some(Outcome::Bad)).count();
    assert_eq!(bad, 48, "those that ran, of one service three quarters of all at most");
    for answer in answers.iter().filter(|answer| answer.outcome != Some(Outcome::Bad)) {
        assert_eq!(answer.outcome, None, "{answer:?}");
        assert!(answer.reason.contains("scripts are running already"), "{answer:?}");
    }
    // Two such services leave no common turn, and a third one has its own.
    let (.., other) = tokio::join!(hanging(80), hanging(8443), once_running(48 + 64 + 2));
    assert_eq!(other.outcome, Some(Outcome::Good), "{other:?}");
}

#[tokio::test]
async fn a_runner_that_does_not_answer_says_nothing_about_the_server() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "x.sh", "#!/bin/sh\n");
    let (here, _there) = UnixStream::pair().unwrap();
    let answer = asked(&ScriptRunner::new(here), folder.path(), "timeout = \"100ms\"").await;
    assert_eq!(answer.outcome, None, "{answer:?}");
    assert!(answer.reason.contains("the process that runs scripts does not answer"), "{answer:?}");
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
    // Until the runner has seen the end: the kernel is asked at every 61st of these.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    for _ in 0..3 {
        let answer = asked(&runner, folder.path(), "").await;
        assert_eq!(answer.outcome, None, "{answer:?}");
        assert!(answer.reason.contains("restart keeld"), "{answer:?}");
    }
}
