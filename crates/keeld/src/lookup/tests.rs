//! Looking several names up, without any name server.
use super::*;

fn nobody(hosts: &str) -> (tempfile::TempDir, Arc<Resolver>) {
    let folder = tempfile::tempdir().unwrap();
    let files = Files { hosts: folder.path().join("hosts"), resolv_conf: folder.path().join("resolv.conf") };
    std::fs::write(&files.hosts, hosts).unwrap();
    let resolver = Arc::new(Resolver::new(files, keel_model::Dns::default()));
    (folder, resolver)
}

fn asked(name: &str) -> Asked {
    Asked { name: name.to_owned(), v6: false }
}

#[tokio::test]
async fn names_of_this_machine_need_no_name_server() {
    let (_folder, resolver) = nobody("10.0.0.1 rs1.example\n");
    let wanted = BTreeSet::from([asked("localhost"), asked("rs1.example"), asked("rs2.example")]);
    let answered: HashMap<_, _> = look_up_all(&resolver, wanted, AT_START).await.into_iter().collect();
    let address = |name| answered[&asked(name)].as_ref().map(|found| found.address.to_string());
    assert_eq!(address("localhost").unwrap(), "127.0.0.1");
    assert_eq!(address("rs1.example").unwrap(), "10.0.0.1");
    let why = address("rs2.example").unwrap_err();
    assert!(
        why.starts_with("there is no name server to ask: ") && why.contains("resolv.conf can't be read"),
        "{why}"
    );
}

#[tokio::test]
async fn nothing_asked_takes_no_time() {
    let (_folder, resolver) = nobody("");
    let started = Instant::now();
    assert!(look_up_all(&resolver, BTreeSet::new(), Duration::from_secs(60)).await.is_empty());
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_look_up_that_panics_has_failed() {
    let mut under_way = UnderWay::default();
    let task = under_way.tasks.spawn(async { panic!("on purpose") });
    under_way.asked.insert(task.id(), asked("rs1.example"));
    let (name, answer) = under_way.next().await;
    assert_eq!(name, asked("rs1.example"));
    assert!(answer.unwrap_err().starts_with("the look-up failed: "));
    assert!(under_way.asked.is_empty());
}
