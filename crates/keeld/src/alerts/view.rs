//! The channels as administrators see them, and a report that is sent to try them.
use keel_alert::{Alerter, ChannelKind, ChannelStatus};
use keel_api::{AlertChannel, AlertChannelKind, AlertFailure, AlertTest, Alerts, ApiError, Warning};
use keel_model::Severity;

use crate::{daemon::Shared, node::Node};

fn kind(kind: ChannelKind) -> AlertChannelKind {
    match kind {
        ChannelKind::Email => AlertChannelKind::Email,
        ChannelKind::Webhook => AlertChannelKind::Webhook,
        ChannelKind::Syslog => AlertChannelKind::Syslog,
    }
}

fn channel(status: ChannelStatus) -> AlertChannel {
    AlertChannel {
        channel: kind(status.channel),
        to: status.to,
        last_success: status.last_success,
        last_error: status.last_error.map(|error| AlertFailure { at: error.at, why: error.why }),
        waiting: u64::try_from(status.waiting).unwrap_or(u64::MAX),
        lost: status.lost,
    }
}

/// What there is to be warned of: a channel whose last attempt failed, or didn't reach everybody.
fn warning(channel: &AlertChannel) -> Option<Warning> {
    let error = channel.last_error.as_ref()?;
    let name = match channel.channel {
        AlertChannelKind::Email => "e-mail",
        AlertChannelKind::Webhook => "webhook",
        AlertChannelKind::Syslog => "syslog",
    };
    let success = channel.last_success;
    let text = if success.is_some_and(|success| success > error.at) {
        return None;
    } else if success == Some(error.at) {
        format!("alerts by {name} don't reach everybody: {}", error.why)
    } else {
        format!("alerts by {name} don't get through: {}", error.why)
    };
    Some(Warning {
        severity: Severity::Warning,
        subject: "alerts".to_owned(),
        text,
        remedy: Some("keel alerts test".to_owned()),
    })
}

impl Node {
    /// How the channels are.
    pub(crate) fn alerts_report(&self) -> Alerts {
        let status = self.alerts.alerter.as_ref().map(Alerter::status);
        status.map_or_else(Alerts::default, |status| Alerts {
            channels: status.channels.into_iter().map(channel).collect(),
            lost_events: status.lost_events,
        })
    }

    /// Channels by which nobody is reached.
    pub(crate) fn alerts_in_trouble(&self) -> Vec<Warning> {
        let mut warnings: Vec<Warning> = self.alerts_report().channels.iter().filter_map(warning).collect();
        if self.alerts.alerter.is_some() && !self.alerts.works() {
            warnings.push(Warning {
                severity: Severity::Error,
                subject: "alerts".to_owned(),
                text: "nobody is told anything any more: the part of keeld that sends alerts has ended, its log says why"
                    .to_owned(),
                remedy: Some("restart keeld: no connection is lost by that".to_owned()),
            });
        }
        warnings
    }
}

/// Sends a test report over every channel, with the secrets as they are now. The node isn't locked meanwhile.
pub(crate) async fn test(node: &Shared) -> Result<Vec<AlertTest>, ApiError> {
    let (alerter, name) = {
        let node = node.lock().await;
        node.configure_alerts();
        (node.alerts.alerter.clone(), node.config.hostname.clone())
    };
    let Some(alerter) = alerter else { return Err(ApiError::conflict("keeld is about to stop")) };
    let tested = alerter.test(&name).await;
    Ok(tested
        .into_iter()
        .map(|tested| {
            let (sent, remark) = match tested.outcome {
                Ok(remark) => (true, remark),
                Err(error) => (false, Some(error.to_string())),
            };
            AlertTest { channel: kind(tested.channel), to: tested.to, sent, remark }
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_warned_of_until_something_has_arrived_since() {
        let mut mail = AlertChannel {
            channel: AlertChannelKind::Email,
            to: "ops@example.org".to_owned(),
            last_success: None,
            last_error: None,
            waiting: 1,
            lost: 0,
        };
        assert_eq!(warning(&mail), None);
        let at = |second| jiff::Timestamp::from_second(second).unwrap();
        mail.last_error = Some(AlertFailure { at: at(100), why: "it sleeps".to_owned() });
        let words = |mail: &AlertChannel| warning(mail).map(|warning| warning.text);
        assert_eq!(words(&mail).as_deref(), Some("alerts by e-mail don't get through: it sleeps"));
        mail.last_success = Some(at(99));
        assert_eq!(words(&mail).as_deref(), Some("alerts by e-mail don't get through: it sleeps"));
        mail.last_success = Some(at(100));
        assert_eq!(words(&mail).as_deref(), Some("alerts by e-mail don't reach everybody: it sleeps"));
        mail.last_success = Some(at(101));
        assert_eq!(words(&mail), None);
    }
}
