//! `keel perf`: how fast and how full the packet path is.

use clap::Args;
use keel_api::{Light, MapFill, Performance, ProgramStats};

use super::Outcome;
use crate::Context;
use crate::numbers::{bits, count, rate};
use crate::style::{Paint, Style};
use crate::table::{Cell, Column, Table};

/// Per cent from which a map is close to full.
const NEARLY_FULL: u64 = 80;

/// Show how fast and how full the packet path is: XDP modes, time per packet, tables, CPUs.
#[derive(Debug, Clone, Args)]
pub(crate) struct Perf {}

impl Perf {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Outcome {
        let performance = context.client.performance().await?;
        context.out.answer(&performance, render)
    }
}

/// Everything, a section each.
pub fn render(performance: &Performance, style: &Style) -> String {
    let mut text = format!("{} packets/s, {} bit/s\n", rate(performance.packets), bits(performance.bytes));
    text.push_str(&style.wrap(&program(performance.program.as_ref()), 0));
    text.push('\n');
    for attachment in &performance.interfaces {
        let link = if attachment.link_up { "link up" } else { "no link" };
        let line =
            format!("{}: XDP {}, {link}, MTU {}\n", attachment.interface, attachment.mode, attachment.mtu);
        text.push_str(&line);
        if let Some(warning) = &attachment.warning {
            text.push_str(&style.wrap(warning, 4));
        }
    }
    text.push('\n');
    text.push_str(&maps(&performance.maps, style));
    if !performance.cpus.is_empty() {
        text.push('\n');
        text.push_str(&cpus(performance, style));
    }
    text
}

fn program(stats: Option<&ProgramStats>) -> String {
    match stats {
        None => "the packet program is not loaded".to_owned(),
        Some(ProgramStats { enabled: true, runs, nanoseconds_per_packet: Some(time) }) => {
            format!("{time:.0} ns per packet over {} packets", count(*runs))
        }
        Some(ProgramStats { enabled: true, .. }) => "time per packet: no packet measured yet".to_owned(),
        Some(ProgramStats { enabled: false, .. }) => "time per packet: not measured; \
             switch it on for a while with: sysctl kernel.bpf_stats_enabled=1"
            .to_owned(),
    }
}

fn maps(maps: &[MapFill], style: &Style) -> String {
    let mut table = Table::new(vec![
        Column::text("TABLE"),
        Column::number("ENTRIES"),
        Column::number("CAPACITY"),
        Column::number("FULL"),
        Column::name("HOLDS", 12),
    ]);
    for map in maps {
        let percent = map.entries.saturating_mul(100).checked_div(map.capacity).unwrap_or(0);
        let full = match percent >= NEARLY_FULL {
            true => Cell::painted(
                format!("{percent}% {}", style.icon(Light::Yellow)),
                Paint::Light(Light::Yellow),
            ),
            false => format!("{percent}%").into(),
        };
        table.row(vec![
            map.map.clone().into(),
            map.entries.to_string().into(),
            map.capacity.to_string().into(),
            full,
            map.holds.clone().into(),
        ]);
    }
    table.render(style)
}

fn cpus(performance: &Performance, style: &Style) -> String {
    let mut table = Table::new(["CPU", "BUSY", "ON PACKETS"].map(Column::number).to_vec());
    for cpu in &performance.cpus {
        table.row(vec![
            cpu.cpu.to_string().into(),
            format!("{:.1}%", cpu.busy).into(),
            format!("{:.1}%", cpu.softirq).into(),
        ]);
    }
    table.render(style)
}
