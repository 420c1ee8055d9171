//! What the board concludes from answers.
use keel_model::load_cluster;
use keel_probe::Files;

use super::*;

const VIP: &str = "[[service]]\nname = \"web\"\naddress = \"192.0.2.80\"\nports = \"80\"\n";

/// What the configuration of a service with these health lines and servers wants.
fn wanted(health: &str, servers: &[&str]) -> Vec<Wanted> {
    let mut text = format!("{VIP}[service.health]\n{health}\n");
    for (i, address) in servers.iter().enumerate() {
        text += &format!("[[service.server]]\nname = \"s{i}\"\naddress = \"{address}\"\n");
    }
    let (cluster, problems) = load_cluster(&text);
    let cluster = cluster.unwrap_or_else(|| panic!("{problems:#?}"));
    let service = &cluster.services[0];
    let nothing = |_: &str| Ok(None);
    let files = Files {
        secret: &nothing,
        secrets: "secrets".into(),
        authorities: "ca".into(),
        scripts: "checks".into(),
    };
    let servers = service.servers.iter().zip(servers);
    let of = |(server, address): (&keel_model::Server, &&str)| {
        let address: IpAddr = address.parse().unwrap();
        let checks = service.health.checks().map(|health| WantedCheck {
            health: Arc::new(health.clone()),
            question: Question::new(health, &files).map(Arc::new).map_err(|error| error.to_string().into()),
            place: super::super::place(service, server, address, health, None),
        });
        Wanted {
            service: service.name.as_str().into(),
            server: server.name.as_str().into(),
            address,
            require: service.health.require,
            slow_start: service.slow_start,
            checks: checks.collect(),
        }
    };
    servers.map(of).collect()
}

fn answer(outcome: Option<Outcome>, reason: &str) -> Answer {
    Answer { outcome, ..Answer::unable(reason) }
}

struct Rig {
    board: Board,
    now: Instant,
}

impl Rig {
    fn new(wanted: Vec<Wanted>) -> Self {
        let mut rig = Self { board: Board::default(), now: Instant::now() };
        rig.configure(wanted);
        rig
    }

    fn configure(&mut self, wanted: Vec<Wanted>) {
        self.board.configure(wanted, |_, _| true, self.now, &mut || 0);
    }

    /// Asks everything that is due and answers it, by the address and port that is asked.
    fn round(&mut self, answers: impl Fn(&Place) -> Answer) -> usize {
        self.now = self.board.next_due().unwrap_or(self.now).max(self.now);
        let jobs = self.board.take_due(self.now, usize::MAX, &mut || 0);
        for job in &jobs {
            self.board.answered(job.id, answers(&job.place), self.now, Timestamp::UNIX_EPOCH);
        }
        jobs.len()
    }

    fn verdict(&self, server: &str) -> Verdict {
        self.board.server("web", server).unwrap().verdict
    }
}

const GOOD: fn(&Place) -> Answer = |_| answer(Some(Outcome::Good), "connection opens");
const BAD: fn(&Place) -> Answer = |_| answer(Some(Outcome::Bad), "connection refused");

#[test]
fn servers_are_asked_come_up_and_go_down_with_the_reason() {
    let mut rig = Rig::new(wanted("type = \"connect\"", &["192.0.2.1", "192.0.2.2"]));
    assert_eq!(rig.verdict("s0"), Verdict::Unknown);
    assert!(rig.board.take_changes().is_some_and(|news| news.is_empty()), "they are new");
    assert_eq!(rig.round(GOOD), 2);
    rig.round(|place| if place.address == IpAddr::from([192, 0, 2, 1]) { GOOD(place) } else { BAD(place) });
    assert_eq!((rig.verdict("s0"), rig.verdict("s1")), (Verdict::Up, Verdict::Unknown));
    for _ in 0..10 {
        rig.round(BAD);
    }
    let known = rig.board.server("web", "s0").unwrap();
    assert_eq!((known.verdict, known.reason.as_str()), (Verdict::Down, "connection refused"));
    assert_eq!(known.history.len(), 2);
    let news = rig.board.take_changes().unwrap();
    let down: Vec<_> = news.iter().filter(|one| one.to == Verdict::Down).collect();
    assert_eq!((down.len(), down[0].reason.as_str()), (2, "connection refused"));
    assert!(rig.board.take_changes().is_none());
}

#[test]
fn a_change_of_the_configuration_keeps_what_is_known_and_a_new_address_is_another_server() {
    let mut rig = Rig::new(wanted("type = \"connect\"", &["192.0.2.1", "192.0.2.2"]));
    rig.round(GOOD);
    rig.round(GOOD);
    rig.configure(wanted("type = \"connect\"\ninterval = \"9s\"", &["192.0.2.1", "192.0.2.3", "192.0.2.4"]));
    let verdicts = ["s0", "s1", "s2"].map(|name| rig.verdict(name));
    assert_eq!(verdicts, [Verdict::Up, Verdict::Unknown, Verdict::Unknown]);
    assert_eq!(rig.board.server("web", "s0").unwrap().checks[0].asked, 2, "its counters stay");
    rig.configure(wanted("type = \"tcp\"\nexpect = \"220\"", &["192.0.2.1"]));
    assert_eq!(rig.verdict("s0"), Verdict::Up, "until the other check says otherwise");
    assert!(rig.board.server("web", "s2").is_none());
    for _ in 0..3 {
        rig.round(BAD);
    }
    assert_eq!(rig.verdict("s0"), Verdict::Down);
}

#[test]
fn an_answer_that_comes_after_its_check_is_gone_changes_nothing() {
    let mut rig = Rig::new(wanted("type = \"connect\"", &["192.0.2.1"]));
    let jobs = rig.board.take_due(rig.now, 10, &mut || 0);
    rig.configure(wanted("type = \"connect\"\nport = 81", &["192.0.2.1"]));
    rig.board.answered(jobs[0].id, GOOD(&jobs[0].place), rig.now, Timestamp::UNIX_EPOCH);
    assert_eq!(rig.board.server("web", "s0").unwrap().checks[0].asked, 0);
    assert_eq!(rig.round(GOOD), 1, "the new one is asked");
}

#[test]
fn nobody_is_asked_twice_at_once() {
    let mut rig = Rig::new(wanted("type = \"connect\"", &["192.0.2.1"]));
    let jobs = rig.board.take_due(rig.now, 10, &mut || 0);
    assert_eq!(jobs.len(), 1);
    rig.configure(wanted("type = \"connect\"\nrise = 5", &["192.0.2.1"]));
    rig.board.suspect("web", "s0", rig.now);
    rig.now += Duration::from_secs(100);
    assert!(rig.board.take_due(rig.now, 10, &mut || 0).is_empty(), "the first question isn't answered yet");
    rig.board.answered(jobs[0].id, GOOD(&jobs[0].place), rig.now, Timestamp::UNIX_EPOCH);
    assert_eq!(rig.round(GOOD), 1);
}

#[test]
fn a_question_that_could_not_be_asked_says_nothing_about_the_server() {
    let mut rig = Rig::new(wanted("type = \"connect\"", &["192.0.2.1"]));
    rig.round(GOOD);
    rig.round(GOOD);
    for _ in 0..10 {
        rig.round(|_| answer(None, "cannot check: no descriptors"));
    }
    assert_eq!(rig.verdict("s0"), Verdict::Up);
    let known = rig.board.server("web", "s0").unwrap();
    assert_eq!(known.checks[0].last.as_ref().unwrap().reason, "cannot check: no descriptors");
}

#[test]
fn a_held_group_that_cant_be_asked_is_not_waited_for() {
    let text = format!(
        "{VIP}[service.health]\ntype = \"connect\"\n[[service.server]]\nname = \"s0\"\naddress = \"192.0.2.1\"\npriority = 1\n"
    );
    let service = load_cluster(&text).0.unwrap().services.remove(0);
    let mut rig = Rig::new(wanted("type = \"connect\"", &["192.0.2.1"]));
    let waited_for = |rig: &Rig| super::super::is_worth_waiting_for(&rig.board, &service, 1);
    assert!(waited_for(&rig), "it will be asked in a moment");
    rig.round(|_| answer(None, "cannot check: no descriptors"));
    assert!(!waited_for(&rig));
    while rig.verdict("s0") != Verdict::Up {
        rig.round(GOOD);
    }
    rig.round(|_| answer(None, "cannot check: no descriptors"));
    assert!(waited_for(&rig), "what is known stays");
    assert!(!super::super::is_worth_waiting_for(&rig.board, &service, 0), "nobody is in that group");
}

#[test]
fn several_checks_are_one_verdict() {
    let health =
        "type = \"connect\"\nrequire = \"any\"\n[[service.health.also]]\ntype = \"connect\"\nport = 81";
    let mut rig = Rig::new(wanted(health, &["192.0.2.1"]));
    let answers = |place: &Place| if place.port == 81 { GOOD(place) } else { BAD(place) };
    for _ in 0..6 {
        rig.round(answers);
    }
    assert_eq!(rig.verdict("s0"), Verdict::Up);
    rig.configure(wanted(&health.replace("any", "all"), &["192.0.2.1"]));
    let known = rig.board.server("web", "s0").unwrap();
    assert_eq!((known.verdict, known.reason.as_str()), (Verdict::Down, "connection refused"), "at once");
}

#[test]
fn what_an_earlier_process_knew_is_gone_on_from() {
    let mut rig = Rig::new(wanted("type = \"connect\"", &["192.0.2.1", "192.0.2.2"]));
    for _ in 0..4 {
        rig.round(
            |place| if place.address == IpAddr::from([192, 0, 2, 1]) { GOOD(place) } else { BAD(place) },
        );
    }
    let mut later = Rig { board: Board::new(rig.board.records()), now: rig.now };
    later.configure(wanted("type = \"connect\"", &["192.0.2.1", "192.0.2.2"]));
    assert_eq!((later.verdict("s0"), later.verdict("s1")), (Verdict::Up, Verdict::Down));
    assert_eq!(
        later.board.server("web", "s1").unwrap().history,
        rig.board.server("web", "s1").unwrap().history
    );
    later.round(BAD);
    assert_eq!(later.verdict("s0"), Verdict::Up, "one bad answer takes nobody down");
}

#[test]
fn a_slow_start_begins_when_a_server_comes_back_and_ends() {
    let mut all = wanted("type = \"connect\"", &["192.0.2.1"]);
    all[0].slow_start = Some(Duration::from_secs(30));
    let mut rig = Rig::new(all);
    rig.round(GOOD);
    rig.round(GOOD);
    let share = |rig: &Rig| rig.board.server("web", "s0").unwrap().share(rig.now);
    assert_eq!(share(&rig), 100, "the first time it is simply up");
    while rig.verdict("s0") != Verdict::Down {
        rig.round(BAD);
    }
    while rig.verdict("s0") != Verdict::Up {
        rig.round(GOOD);
    }
    assert_eq!(share(&rig), 10);
    rig.board.take_changes();
    let began = rig.now;
    let mut steps = 0;
    while rig.now < began + Duration::from_secs(40) {
        rig.now += Duration::from_millis(100);
        rig.board.take_steps(rig.now);
        steps += usize::from(rig.board.take_changes().is_some());
    }
    assert_eq!((share(&rig), steps), (100, 10), "ten changes of the table, and no more");
}

#[test]
fn an_agents_wish_is_a_share_of_the_weight() {
    let mut rig = Rig::new(wanted("type = \"agent\"", &["192.0.2.1"]));
    rig.round(|place| Answer { share: Some(40), ..GOOD(place) });
    assert_eq!(rig.board.server("web", "s0").unwrap().share(rig.now), 40);
    rig.board.take_changes();
    rig.round(|place| Answer { share: Some(40), ..GOOD(place) });
    rig.round(|place| Answer { share: Some(40), ..GOOD(place) });
    rig.board.take_changes();
    rig.round(|place| Answer { share: Some(40), ..GOOD(place) });
    assert!(rig.board.take_changes().is_none(), "the same wish is no change");
    rig.round(|place| Answer { share: Some(70), ..GOOD(place) });
    assert!(rig.board.take_changes().is_some());
}

#[test]
fn an_agents_wish_goes_with_its_check_and_of_two_the_least_counts() {
    let both = "type = \"agent\"\n[[service.health.also]]\ntype = \"agent\"\nagent_port = 3334";
    let mut rig = Rig::new(wanted(both, &["192.0.2.1"]));
    let share = |rig: &Rig| rig.board.server("web", "s0").unwrap().share(rig.now);
    let mut asked = 0;
    while asked < 2 {
        asked += rig.round(|place| Answer { share: Some(40), ..GOOD(place) });
    }
    assert_eq!(share(&rig), 40);
    let jobs = loop {
        rig.now = rig.board.next_due().unwrap();
        let jobs = rig.board.take_due(rig.now, 1, &mut || 0);
        if !jobs.is_empty() {
            break jobs;
        }
    };
    let less = Answer { share: Some(10), ..GOOD(&jobs[0].place) };
    rig.board.answered(jobs[0].id, less, rig.now, Timestamp::UNIX_EPOCH);
    assert_eq!(share(&rig), 10, "one asks for 10, the other for 40");
    // Another process goes on with it until it has heard both.
    let mut later = Rig { board: Board::new(rig.board.records()), now: rig.now };
    later.configure(wanted(both, &["192.0.2.1"]));
    assert_eq!(share(&later), 10);
    rig.configure(wanted("type = \"connect\"", &["192.0.2.1"]));
    assert_eq!(share(&rig), 100, "nobody asks for less any more");
}

#[test]
fn a_slow_start_goes_on_in_another_process_and_is_not_begun_by_a_change() {
    let slow = |slow: Option<u64>| {
        let mut all = wanted("type = \"connect\"", &["192.0.2.1"]);
        all[0].slow_start = slow.map(Duration::from_secs);
        all
    };
    let share = |rig: &Rig| rig.board.server("web", "s0").unwrap().share(rig.now);
    let mut rig = Rig::new(slow(None));
    for answer in [GOOD, GOOD, BAD, BAD, BAD] {
        rig.round(answer);
    }
    while rig.verdict("s0") != Verdict::Up {
        rig.round(GOOD);
    }
    rig.configure(slow(Some(3600)));
    assert_eq!(share(&rig), 100, "it is up, and has its whole weight");

    while rig.verdict("s0") != Verdict::Down {
        rig.round(BAD);
    }
    rig.round(|_| answer(Some(Outcome::Drain), "warming up"));
    while rig.verdict("s0") != Verdict::Drain {
        rig.round(|_| answer(Some(Outcome::Drain), "warming up"));
    }
    while rig.verdict("s0") != Verdict::Up {
        rig.round(GOOD);
    }
    assert_eq!(share(&rig), 10, "it was down, whatever came in between");
    rig.configure(slow(Some(1800)));
    rig.board.take_changes();
    assert!(rig.board.steps.iter().all(|(at, _)| *at > rig.now) && rig.board.steps.len() == 1);
    rig.now += Duration::from_secs(890);
    rig.board.take_steps(rig.now);
    assert!(rig.board.take_changes().is_some(), "its steps go on");
    assert_eq!(share(&rig), 50);

    let since = Timestamp::now() - jiff::SignedDuration::from_secs(890);
    let mut records = rig.board.records();
    records[0].since = Some(since);
    let mut later = Rig { board: Board::new(records), now: Instant::now() + Duration::from_secs(1) };
    later.configure(slow(Some(1800)));
    assert_eq!(share(&later), 50);
}

#[test]
fn a_server_that_was_down_before_keeps_its_reason_until_it_answers() {
    let mut rig = Rig::new(wanted("type = \"connect\"", &["192.0.2.1"]));
    while rig.verdict("s0") != Verdict::Down {
        rig.round(BAD);
    }
    let mut later = Rig { board: Board::new(rig.board.records()), now: rig.now };
    later.configure(wanted("type = \"connect\"", &["192.0.2.1"]));
    assert_eq!(later.board.server("web", "s0").unwrap().reason, "connection refused");
    assert_eq!(later.board.records()[0].reason, "connection refused");
}

#[test]
fn what_was_known_about_a_server_that_has_no_address_yet_is_kept() {
    let mut rig = Rig::new(wanted("type = \"connect\"", &["192.0.2.1", "192.0.2.2"]));
    while rig.verdict("s1") != Verdict::Up {
        rig.round(GOOD);
    }
    let mut board = Board::new(rig.board.records());
    let named = |_: &str, server: &str| server != "s0";
    board.configure(Vec::new(), named, rig.now, &mut || 0);
    let known: Vec<String> = board.records().into_iter().map(|record| record.server).collect();
    assert_eq!(known, ["s1"], "s0 isn't in the configuration any more");
    let mut later = Rig { board, now: rig.now };
    later.configure(wanted("type = \"connect\"", &["192.0.2.1", "192.0.2.2"]));
    assert_eq!((later.verdict("s0"), later.verdict("s1")), (Verdict::Unknown, Verdict::Up));
}
