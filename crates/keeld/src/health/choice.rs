//! Which servers of a service were chosen and by which policy, in words.
use keel_model::{AdminState, Failback, Service};
use keel_pool::{Outlook, Verdict, members};

/// What isn't plain from the servers' own states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    /// The priority group that takes connections, where there are several.
    pub(crate) group: Option<u16>,
    /// A lower group is up and waits to be told.
    pub(crate) awaits_failback: bool,
    /// Too few are up to believe it.
    pub(crate) panic: bool,
    words: Vec<String>,
}

impl Choice {
    /// What the policies make of a service's servers.
    pub(crate) fn of(service: &Service, outlook: &Outlook) -> Self {
        let membership = members(service, outlook);
        let lowest = service.servers.iter().map(|server| server.priority).min();
        let several = service.servers.iter().any(|server| Some(server.priority) != lowest);
        let group = membership.group.filter(|_| several);
        let waiting = service.servers.iter().zip(&outlook.verdicts).filter(|(server, verdict)| {
            let ready = **verdict == Verdict::Up && server.state == AdminState::Online && server.weight > 0;
            ready && group.is_some_and(|group| server.priority < group)
        });
        let waiting = waiting.map(|(server, _)| server.priority).min();
        let waiting = waiting.filter(|_| service.failback == Failback::Manual);
        let mut words = Vec::new();
        if let Some(group) = group.filter(|group| Some(*group) != lowest) {
            words.push(format!("priority {group} takes connections"));
        }
        if let Some(waiting) = waiting {
            words.push(format!("priority {waiting} waits for `keel service failback {}`", service.name));
        }
        if let Some(group) = membership.alarm {
            let whom = if several { format!(" of priority {group}") } else { String::new() };
            let least = service.panic_threshold;
            words.push(if membership.panic {
                format!("fewer than {least} % up, so all{whom} are used whatever their checks say")
            } else {
                format!("fewer than {least} % up{whom}, so none is used")
            });
        }
        Self { group, awaits_failback: waiting.is_some(), panic: membership.panic, words }
    }

    /// The reason for a service's colour, with what the policies did.
    pub(crate) fn said_behind(&self, reason: String) -> String {
        self.words.iter().fold(reason, |reason, word| reason + "; " + word)
    }
}

#[cfg(test)]
mod tests {
    use keel_model::{Layer4, PanicAction, Server};

    use super::*;

    fn said(service: &Service, held: Option<u16>, verdicts: &[Verdict]) -> (Choice, String) {
        let outlook = Outlook { verdicts: verdicts.to_vec(), held, ..Outlook::default() };
        let choice = Choice::of(service, &outlook);
        let said = choice.said_behind("so it is".to_owned());
        (choice, said)
    }

    #[test]
    fn what_policies_did_is_said_and_nothing_where_they_did_nothing() {
        use Verdict::{Down, Up};
        let (name, address) = ("db".parse().unwrap(), "192.0.2.1".parse().unwrap());
        let mut service = Service::layer4(name, address, "80".parse().unwrap(), Layer4::default());
        for number in 0..3u8 {
            let address: std::net::IpAddr = [192, 0, 2, 10 + number].into();
            service.servers.push(Server::new(format!("s{number}").parse().unwrap(), address));
        }
        assert_eq!(said(&service, None, &[Up, Up, Down]).1, "so it is");
        service.panic_threshold = 50;
        let (panicking, words) = said(&service, None, &[Up, Down, Down]);
        assert!(panicking.panic && panicking.group.is_none());
        assert_eq!(words, "so it is; fewer than 50 % up, so all are used whatever their checks say");
        service.servers[2].priority = 1;
        assert_eq!(said(&service, None, &[Up, Up, Up]).1, "so it is");
        let (over, words) = said(&service, None, &[Down, Down, Up]);
        assert_eq!((over.group, over.awaits_failback), (Some(1), false));
        assert_eq!(words, "so it is; priority 1 takes connections");
        service.failback = Failback::Manual;
        let (held, words) = said(&service, Some(1), &[Up, Down, Up]);
        assert!(held.awaits_failback && !held.panic);
        let expected =
            "so it is; priority 1 takes connections; priority 0 waits for `keel service failback db`";
        assert_eq!(words, expected);
        let (panicking, words) = said(&service, Some(1), &[Down, Down, Down]);
        assert!(panicking.panic && !panicking.awaits_failback);
        assert!(words.ends_with("so all of priority 1 are used whatever their checks say"), "{words}");
        service.panic_action = PanicAction::Fallback;
        service.panic_threshold = 60;
        let (none, words) = said(&service, None, &[Up, Down, Up]);
        assert_eq!((none.group, none.awaits_failback, none.panic), (None, false, false));
        assert_eq!(words, "so it is; fewer than 60 % up of priority 0, so none is used");
        service.panic_threshold = 50;
        service.servers[0].state = AdminState::Halt;
        assert!(!said(&service, Some(1), &[Up, Down, Up]).0.awaits_failback, "it was taken out by hand");
    }
}
