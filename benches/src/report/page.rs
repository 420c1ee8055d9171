//! `docs/benchmarks.md`.

use std::fmt::Write as _;

use super::Results;
use super::table::{Table, count, number};
use crate::packets::Load;
use crate::path::Cell;

/// A row beside the known packets.
const UNLEASED: &str = "*DR, every packet by the connection table*";

/// katran's net nanoseconds per packet (IPIP, 100 servers, known flows), measured by the same method on another
/// machine, by flows; an empty program took 25 ns there.
const KATRAN: [(u32, f64); 4] = [(1, 130.0), (4096, 130.0), (65_536, 205.0), (1_000_000, 350.0)];
const FLOWS: [u32; 4] = [1, 4096, 65_536, 1_000_000];

/// The page; `None` if something wasn't measured.
pub(crate) fn page(results: &Results) -> Option<String> {
    let mut text = head(results);
    text += &paths(results)?;
    text += &floors(results)?;
    text += &beginnings(results)?;
    text += &growth(results)?;
    text += &packets(results)?;
    text += &connections(results)?;
    text += &changes(results)?;
    text += &checks(results)?;
    text += &rings(results)?;
    text += include_str!("method.md");
    Some(text)
}

fn head(results: &Results) -> String {
    let m = &results.machine;
    let mut text = "# Benchmarks\n\n".to_owned();
    text += "`make bench` wrote this page and [benchmarks.json](benchmarks.json), which has every figure with its spread. \
             All figures are from one run on one machine; compare them with each other, not with other machines.\n\n";
    if results.quick {
        text += "**This was a smoke test: the figures mean nothing.**\n\n";
    }
    let _ = writeln!(
        text,
        "{} · {} CPUs, {} · {} GiB · Linux {} · Evenkeel {} · HAProxy {} · nftables {} · wrk {}\n",
        m.date, m.cpus, m.cpu, m.memory_gib, m.kernel, m.evenkeel, m.haproxy, m.nftables, m.wrk
    );
    let busy = results.others_share;
    if busy > 0.15 {
        let _ = writeln!(
            text,
            "**The machine was not quiet**: others used {:.0} % of one CPU when the run began. Times that depend on memory suffer \
             most from that.\n",
            busy * 100.0
        );
    }
    text
}

/// The cell in the smallest table that was measured with so many flows.
fn cell<'a>(cells: &'a [Cell], path: &str, packet: &str, flows: u32) -> Option<&'a Cell> {
    cells.iter().filter(|c| c.path == path && c.packet == packet && c.flows == flows).min_by_key(|c| c.table)
}

fn shown(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), number)
}

fn by_flows(name: &str, value: impl Fn(u32) -> Option<f64>) -> Vec<String> {
    std::iter::once(name.to_owned()).chain(FLOWS.iter().map(|flows| shown(value(*flows)))).collect()
}

fn flows_head(first: &str) -> Vec<String> {
    std::iter::once(first.to_owned()).chain(FLOWS.iter().map(|flows| count(*flows))).collect()
}

fn paths(results: &Results) -> Option<String> {
    let section = results.path.as_ref()?;
    let cells = &section.cells;
    let mut text =
        "## Nanoseconds per packet\n\n### Packets of known connections, by flows that take turns\n\n"
            .to_owned();
    let mut table = Table::new(&flows_head("net ns per packet"));
    for cell in cells.iter().filter(|c| c.packet == "known" && c.flows == 1) {
        table.row(&by_flows(cell.path, |flows| Some(self::cell(cells, cell.path, "known", flows)?.net_ns)));
    }
    table.row(&by_flows(UNLEASED, |flows| Some(cell(cells, "DR", "unleased", flows)?.net_ns)));
    let katran = |flows: u32| KATRAN.iter().find(|(at, _)| *at == flows).map(|(_, ns)| *ns);
    table.row(&by_flows("katran, IPIP (another machine)", katran));
    for name in ["hash table", "the same, evicting"] {
        let floors = results.floor.as_ref()?;
        let floor = |flows: u32| {
            let of = floors.iter().filter(|c| c.table.starts_with(name) && c.flows == flows);
            Some(of.min_by_key(|c| c.entries)?.net_ns)
        };
        let what = if name == "hash table" {
            "*here: one look into a kernel hash table, nothing else*"
        } else {
            "*here: one look into a kernel LRU table, nothing else*"
        };
        table.row(&by_flows(what, floor));
    }
    text += &table.end();
    text += &verdict(results)?;
    text += "### Packets that are none of ours, by connections in the table\n\n";
    let mut table = Table::new(&flows_head("net ns per packet"));
    for (path, packet, name) in [
        ("none of ours", "not IP", "ARP"),
        ("none of ours", "foreign", "TCP to another address"),
        ("none of ours, NAT in use", "foreign", "TCP to another address, NAT in use"),
    ] {
        table.row(&by_flows(name, |flows| Some(cell(cells, path, packet, flows)?.net_ns)));
    }
    text += &table.end();
    let _ = writeln!(
        text,
        "A bare `XDP_PASS` program takes {} ns, the kernel's call included. The packet path is {} bytes of machine code; \
         the verifier looked at {} instructions.\n",
        number(section.bare_ns),
        count(section.machine_code_bytes),
        count(section.verified_instructions),
    );
    Some(text)
}

/// Where we are behind the figures of katran, cell by cell; nobody has to look for them.
fn verdict(results: &Results) -> Option<String> {
    let cells = &results.path.as_ref()?.cells;
    let mut behind = Vec::new();
    let mut ahead = 0;
    for known in cells.iter().filter(|c| c.packet == "known") {
        let katran = KATRAN.iter().find(|(at, _)| *at == known.flows);
        if self::cell(cells, known.path, "known", known.flows).is_none_or(|c| c.table != known.table) {
            continue;
        }
        match katran {
            Some((_, ns)) if known.net_ns >= *ns => {
                behind.push(format!(
                    "{} at {} flows ({} against {})",
                    known.path,
                    count(known.flows),
                    number(known.net_ns),
                    number(*ns)
                ));
            }
            Some(_) => ahead += 1,
            None => {}
        }
    }
    let losing = if behind.is_empty() { "none".to_owned() } else { behind.join("; ") };
    Some(format!(
        "Below katran's figure: {ahead} of {} cells. Not below it: {losing}.\n\n",
        ahead + behind.len()
    ))
}

fn floors(results: &Results) -> Option<String> {
    let mut text = "### What one look into a table costs on this machine\n\n".to_owned();
    let mut table = Table::new(&["table", "entries", "flows", "net ns"]);
    for cell in results.floor.as_ref()? {
        table.row(&[cell.table, &count(cell.entries), &count(cell.flows), &number(cell.net_ns)]);
    }
    text += &table.end();
    text += "A table that doesn't fit into the caches costs what memory costs: a bucket, then an element, one after the \
             other. From 65,536 flows on that, not the packet path's instructions, is most of a packet's time.\n\n";
    Some(text)
}

fn beginnings(results: &Results) -> Option<String> {
    let section = results.path.as_ref()?;
    let cells = &section.cells;
    let mut text = "### Packets that begin a connection (SYN), by connections in the table\n\n".to_owned();
    let mut table = Table::new(&flows_head("net ns per packet"));
    for cell in cells.iter().filter(|c| c.packet == "new" && c.flows == 1) {
        table.row(&by_flows(cell.path, |flows| Some(self::cell(cells, cell.path, "new", flows)?.net_ns)));
    }
    text += &table.end();
    text += "Every packet is of a flow never seen before, and the table for half-open connections is full: each evicts \
             another. Without connections worth mentioning in the table, by scheduler (DR):\n\n";
    let mut table = Table::new(&["net ns per packet", "10 servers", "64 servers", "in a flood"]);
    let of = |how: &str, packet: &str| shown(cell(cells, how, packet, 0).map(|c| c.net_ns));
    for how in ["rr", "wrr", "wlc", "sh", "maglev"] {
        table.row(&[
            how,
            &of(how, "new, 10 servers"),
            &of(how, "new, 64 servers"),
            &of(how, "new, in a flood"),
        ]);
    }
    text += &table.end();
    text += "Opening a connection: its SYN and its first ACK together, the move to the table of established ones included:\n\n";
    let mut table = Table::new(&["", "connections in the table after it", "net ns for both packets"]);
    for handshake in &section.handshakes {
        table.row(&[handshake.path, &count(handshake.flows), &number(handshake.net_ns)]);
    }
    text += &table.end();
    Some(text)
}

fn growth(results: &Results) -> Option<String> {
    let mut text = "### Many services (DR)\n\n".to_owned();
    let head = ["services", "flows of one: known", "new", "flows of all in turn: known", "new"];
    let mut table = Table::new(&head);
    for cell in results.growth.as_ref()? {
        let crate::growth::Cell { services, one, all } = cell;
        let [a, b, c, d] = [one.known_ns, one.new_ns, all.known_ns, all.new_ns].map(number);
        table.row(&[count(*services), a, b, c, d]);
    }
    text += &table.end();
    text += "How many services there are makes no difference to a packet; how many are busy at the same time does: each has \
             servers of its own, with an entry and counters (200 bytes), that are to be had from the caches or not.\n\n";
    Some(text)
}

fn packets(results: &Results) -> Option<String> {
    let mut text = "## In a lab: packets and connections as a network card hands them over\n\n".to_owned();
    for (load, title, what) in [
        (Load::Datagrams, "Datagrams of 4,096 known flows, 64 bytes", "datagrams"),
        (Load::Connections, "New TCP connections with one request each, packet by packet", "connections"),
    ] {
        let cells: Vec<_> = results.packets.as_ref()?.iter().filter(|cell| cell.load == load).collect();
        let nftables = cells.iter().find(|c| c.balancer.starts_with("nftables"))?.net_ns;
        let _ = writeln!(text, "### {title}\n");
        let per_second = format!("{what} per CPU second");
        let head = ["", "packets each", "CPU ns each", &per_second, "times nftables", "came out"];
        let mut table = Table::new(&head);
        for cell in &cells {
            table.row(&[
                cell.balancer.to_owned(),
                cell.packets.to_string(),
                number(cell.net_ns),
                count(cell.per_cpu_second.max(0.0) as u64),
                number(nftables / cell.net_ns),
                format!("{:.1} %", cell.delivered_percent),
            ]);
        }
        text += &table.end();
        let off = cells.iter().map(|cell| cell.generator_ns);
        let (least, most) = (off.clone().fold(f64::INFINITY, f64::min), off.fold(0.0, f64::max));
        let _ = writeln!(
            text,
            "Taken off: {} to {} ns for injecting and dropping.\n",
            number(least),
            number(most)
        );
    }
    Some(text)
}

fn connections(results: &Results) -> Option<String> {
    let cells = results.connections.as_ref()?;
    let mut text = "## In a lab: connections and requests of real clients\n\n".to_owned();
    let mut loads: Vec<&str> = cells.iter().map(|cell| cell.load).collect();
    loads.dedup();
    for load in loads {
        let of: Vec<_> = cells.iter().filter(|cell| cell.load == load).collect();
        let cost = |name: &str| of.iter().find(|c| c.balancer.starts_with(name)).map(|c| c.net_us);
        let (nftables, haproxy) = (cost("nftables")?, cost("HAProxy")?);
        let _ = writeln!(text, "### wrk, {load}\n");
        let head = ["", "CPU µs each", "least–most", "per CPU second", "times nftables", "times HAProxy"];
        let mut table = Table::new(&head);
        for cell in of.iter().filter(|cell| cell.balancer != "no balancer") {
            table.row(&[
                cell.balancer.to_owned(),
                number(cell.net_us),
                format!("{}–{}", number(cell.least_us), number(cell.most_us)),
                count(cell.per_cpu_second.max(0.0) as u64),
                number(nftables / cell.net_us),
                number(haproxy / cell.net_us),
            ]);
        }
        text += &table.end();
        let without = of.first()?.without_us;
        let _ = writeln!(
            text,
            "Taken off: {} µs for client, router and server without a balancer.\n",
            number(without)
        );
    }
    text += "What is left also holds the way to the balancer and out of it again (a bridge and four veth ends), which the \
             row of the bare relay shows: it does nothing else.\n\n";
    Some(text)
}

fn changes(results: &Results) -> Option<String> {
    let section = results.change.as_ref()?;
    let mut text = format!(
        "## Changing one thing among {} services with {} servers each\n\n",
        count(section.services),
        section.servers_each
    );
    let timings = |timings: &[crate::change::Timing]| {
        let mut table = Table::new(&["", "writes to maps", "ms", "most"]);
        for timing in timings {
            let writes = timing.writes.map_or_else(|| "–".to_owned(), |writes| count(writes as u64));
            table.row(&[timing.what.clone(), writes, number(timing.ms), number(timing.most_ms)]);
        }
        table.end()
    };
    text += &timings(&section.changes);
    text += "The same as an administrator does it. Most of it is reading, editing and writing the text:\n\n";
    text += &timings(&section.whole);
    text += "Building one table anew, before it is handed to the kernel:\n\n";
    text += &timings(&section.tables);
    text += "### Memory\n\n";
    let mut table = Table::new(&["map", "entries", "bytes", "bytes per entry"]);
    for memory in &section.memory {
        table.row(&[
            memory.map.to_owned(),
            count(memory.entries),
            count(memory.bytes),
            number(memory.bytes_per_entry),
        ]);
    }
    text += &table.end();
    text += "A connection takes one entry of CONNECTIONS in DR and TUN and two in NAT; there are as many sets of leases as \
             entries of CONNECTIONS, rounded up to a power of two. All of it is allocated at start, \
             whether in use or not.\n\n";
    Some(text)
}

fn checks(results: &Results) -> Option<String> {
    /// Per cent of one CPU.
    const BAR: f64 = 15.0;
    let cells = results.checks.as_ref()?;
    let mut text = "## Health checks\n\nEvery server every 4 s:\n\n".to_owned();
    let head = [
        "check",
        "servers",
        "checks a second",
        "the checking thread, % of one CPU",
        "the whole daemon",
        "its CPU µs for each",
        "bare system calls, CPU µs for each",
        "MiB resident",
        "descriptors, before and after",
    ];
    let mut table = Table::new(&head);
    for cell in cells {
        let [before, after] = cell.descriptors;
        table.row(&[
            cell.check.to_owned(),
            count(cell.servers),
            number(cell.per_second),
            number(cell.thread_percent),
            number(cell.daemon_percent),
            number(cell.each_us),
            shown(cell.bare_us),
            number(cell.megabytes),
            format!("{before}, {after}"),
        ]);
    }
    text += &table.end();
    let most: Vec<_> = cells.iter().filter(|cell| cell.servers == 10_000).collect();
    if !most.is_empty() {
        let names = |is_below: bool| {
            let some = most.iter().filter(|cell| (cell.daemon_percent < BAR) == is_below);
            let names: Vec<_> = some.map(|cell| cell.check).collect();
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        };
        let (below, not) = (names(true), names(false));
        let _ = write!(
            text,
            "The bar is {BAR} % of one CPU for 10,000 servers. The whole daemon is below it with: {below}. Not below it: {not}.\n\n"
        );
    }
    text += "All servers are one nginx, asked at as many addresses. Connections are new each time. \
             Behind veth the network and the other side's TCP are done in the time of who sends, which no network card does: the bare \
             system calls, which send the same packets one connection after the other, hold that too. With https the chain is read \
             and not verified; ten thousand handshakes in 4 s are more than that nginx can answer beside us on this machine.\n\n";
    Some(text)
}

fn rings(results: &Results) -> Option<String> {
    let section = results.rings.as_ref()?;
    let mut text = "## Maglev\n\n".to_owned();
    let head = [
        "servers",
        "slots",
        "fullest over the mean",
        "emptiest under it",
        "moved when one leaves, mean",
        "worst",
    ];
    let mut table = Table::new(&head);
    for ring in &section.maglev {
        let percent = |value: f64| format!("{value:.2} %");
        table.row(&[
            count(ring.servers),
            count(ring.slots),
            percent(ring.over_percent),
            percent(ring.under_percent),
            percent(ring.moved_percent),
            percent(ring.worst_moved_percent),
        ]);
    }
    text += &table.end();
    text += "Moved: of the slots of servers that stay. ";
    text += "Weighted least connections, with weights from 1 to 100:\n\n";
    let mut table = Table::new(&[
        "servers",
        "chosen server above the least loaded, at worst",
        "above its share, at worst",
    ]);
    for distance in &section.least_connections {
        table.row(&[
            count(distance.servers),
            format!("{} connections", number(distance.worst_pick)),
            format!("{} connections", number(distance.most_over)),
        ]);
    }
    text += &table.end();
    Some(text)
}
