//! `keel explain`: where a client would go, and why.

use clap::{Args, ValueEnum};
use keel_api::{ExplainQuery, Explanation, Light, Protocol, Verdict};

use super::Outcome;
use crate::Context;
use crate::address::{Endpoint, VirtualEndpoint};
use crate::style::{Paint, Style};

/// Say which server a client gets at a virtual address now, and why.
///
/// Asks the daemon to go through the packet path's decisions without sending or changing anything.
#[derive(Debug, Clone, Args)]
pub(crate) struct Explain {
    /// The client; its port matters only where the scheduler hashes ports
    #[arg(value_name = "CLIENT[:PORT]")]
    client: Endpoint,

    /// The virtual address and port
    #[arg(value_name = "VIP:PORT")]
    vip: VirtualEndpoint,

    /// tcp or udp
    #[arg(value_enum, default_value_t, hide_possible_values = true)]
    protocol: Transport,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Transport {
    #[default]
    Tcp,
    Udp,
}

impl Explain {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Outcome {
        let query = ExplainQuery {
            client: self.client.ip,
            client_port: self.client.port,
            vip: self.vip.ip,
            vip_port: self.vip.port,
            protocol: match self.protocol {
                Transport::Tcp => Protocol::Tcp,
                Transport::Udp => Protocol::Udp,
            },
        };
        let explanation = context.client.explain(query).await?;
        context.out.answer(&explanation, |explanation, style| render(&query, explanation, style))
    }
}

/// The answer, why, and each step to it.
pub fn render(query: &ExplainQuery, explanation: &Explanation, style: &Style) -> String {
    let light = match explanation.verdict {
        Verdict::Known | Verdict::Persistent | Verdict::Scheduled => Light::Green,
        Verdict::Fallback => Light::Yellow,
        Verdict::Dropped => Light::Red,
        Verdict::NotAService => Light::Blue,
    };
    let summary = format!("{} {}", style.icon(light), explanation.summary);
    let mut text = format!("{}\n{}\n", question(query, style), style.paint(Paint::Light(light), &summary));
    text.push_str(&style.wrap(&format!("because: {}", explanation.why), 2));
    for (index, step) in explanation.steps.iter().enumerate() {
        text.push_str(&style.wrap(&format!("{}. {step}", index + 1), 2));
    }
    if explanation.depends_on_port && query.client_port.is_none() {
        text.push_str(&style.wrap(
            "The scheduler hashes ports and no client port was given: another port may get another \
             server. Give one as CLIENT:PORT for the exact answer.",
            0,
        ));
    }
    if let Some(remedy) = &explanation.remedy {
        text.push_str(&style.wrap(&format!("What to do: {remedy}"), 0));
    }
    text
}

fn question(query: &ExplainQuery, style: &Style) -> String {
    let client = match query.client_port {
        Some(port) => std::net::SocketAddr::new(query.client, port).to_string(),
        None => query.client.to_string(),
    };
    let vip = std::net::SocketAddr::new(query.vip, query.vip_port);
    format!("{client} {} {vip} {}", style.arrow(), query.protocol)
}
