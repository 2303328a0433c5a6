//! The timeline: a lane for each node and each client on one time axis.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use redlock_testing::history::Violation;

use super::Facts;
use super::lanes::{self, Mark, Stretch};
use super::page::escape;
use super::scale::{COLUMNS, LEFT, RIGHT, Scale, WIDTH, short};
use crate::chaos::event::resource_name;

const TOP: f64 = 22.0;
const NODE: f64 = 16.0;
const SPACE: f64 = 4.0;
const SECTION_SPACE: f64 = 14.0;
const STRIP: f64 = 10.0;
/// Shares of a column are drawn in this many shades.
const LEVELS: usize = 4;

/// Number of characters that fit left of a lane.
const LABEL_MAX: usize = 15;
/// Height of the strip at the bottom of a client's lane that shows cut or bad ways to nodes.
const WAY: f64 = 3.0;

/// Height of a client's lane: the fewer clients, the higher.
fn client_height(clients: usize) -> f64 {
    match clients {
        0..=8 => 16.0,
        9..=16 => 12.0,
        _ => 8.0,
    }
}

pub(super) fn of(facts: Facts<'_>) -> String {
    let scale = Scale::new(facts.log.began_at, facts.log.ended_at);
    let mut picture = Picture { facts, scale, body: String::new(), y: TOP };
    picture.gaps();
    let nodes = facts.run.node_names().len();
    for node in 0..nodes {
        picture.node(node);
    }
    picture.y += SECTION_SPACE - SPACE;
    let clients_from = picture.y;
    for client in 0..facts.log.clients.len() {
        picture.client(client);
    }
    picture.violations(clients_from);
    let height = picture.y + 6.0;
    let axis = axis(scale, height - 4.0);
    format!(
        "<svg class=\"timeline\" viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"Timeline of nodes and clients\">\
         {PATTERNS}{axis}{}</svg>",
        short(height),
        picture.body
    )
}

/// Stripes, so that states can be told apart without colours.
const PATTERNS: &str = "<defs><pattern id=\"stripes\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\" \
                        patternTransform=\"rotate(45)\"><rect class=\"stripe\" width=\"2\" height=\"5\"/></pattern></defs>";

/// Lines and numbers of the time axis, down to `bottom`.
pub(super) fn axis(scale: Scale, bottom: f64) -> String {
    let mut axis = String::new();
    for (at, seconds) in scale.ticks() {
        let x = short(scale.x(at));
        let _ = write!(
            axis,
            "<path class=\"grid\" d=\"M{x} {TOP}V{}\"/><text class=\"tick\" x=\"{x}\" y=\"13\">{} s</text>",
            short(bottom),
            short(seconds)
        );
    }
    axis
}

struct Picture<'a> {
    facts: Facts<'a>,
    scale: Scale,
    body: String,
    y: f64,
}

impl Picture<'_> {
    /// Marks the periods in which no lock could be acquired.
    fn gaps(&mut self) {
        let gaps = &self.facts.judgement.availability.gaps;
        self.label("no lock", STRIP);
        self.rect("lane", LEFT, RIGHT - LEFT, STRIP, "");
        for gap in gaps {
            let title = format!(
                "nobody living held {} for {:.2} s from {:.1} s on, although it was wanted",
                resource_name(gap.resource),
                gap.length().as_secs_f64(),
                self.facts.seconds(gap.from)
            );
            self.span("gap", gap.from, gap.until, STRIP, &title);
        }
        self.y += STRIP + SECTION_SPACE;
    }

    fn node(&mut self, node: usize) {
        let facts = self.facts;
        let lane = lanes::of_node(facts.log, node, |time| facts.seconds(time));
        let name = &facts.run.node_names()[node];
        // A name that is too long for the margin is shown only in the lane's tooltip.
        let label = if name.chars().count() <= LABEL_MAX { name.clone() } else { format!("node {node}") };
        self.label(&label, NODE);
        self.rect("lane up", LEFT, RIGHT - LEFT, NODE, name);
        self.stretches(&lane.stretches, NODE);
        self.marks(&lane.marks, NODE);
        self.y += NODE + SPACE;
    }

    fn client(&mut self, client: usize) {
        let facts = self.facts;
        let clients = facts.log.clients.len();
        let height = client_height(clients);
        let lane = lanes::of_client(facts.log, client, self.scale, |time| facts.seconds(time));
        // Names of narrow lanes would overlap.
        if clients <= 16 || client.is_multiple_of(2) {
            self.label(&format!("client {client}"), height);
        }
        self.rect("lane", LEFT, RIGHT - LEFT, height, "");
        self.columns("waiting", &lane.waiting, height / 2.0 - 1.5, 3.0);
        self.columns("holding", &lane.holding, 0.0, height);
        self.stretches(&lane.stretches, height);
        self.y += height - WAY;
        self.stretches(&lane.ways, WAY);
        self.y -= height - WAY;
        self.marks(&lane.marks, height);
        self.y += height + if clients > 16 { 2.0 } else { SPACE };
    }

    /// Marks a violation in red, across the lanes of all clients involved.
    fn violations(&mut self, clients_from: f64) {
        let height = client_height(self.facts.log.clients.len());
        let space = if self.facts.log.clients.len() > 16 { 2.0 } else { SPACE };
        let bottom = self.y - space;
        for violation in &self.facts.judgement.violations {
            let title = super::super::judge::relative(violation, self.facts.log.began_at);
            let Some((from, until, clients)) = where_is(violation) else { continue };
            let (x, width) = self.place(from, until);
            let _ = write!(
                self.body,
                "<g class=\"violation\"><title>{}</title><path d=\"M{} {}V{}\"/>",
                escape(&title),
                short(x + width / 2.0),
                short(TOP),
                short(bottom)
            );
            for client in clients {
                let y = clients_from + client as f64 * (height + space);
                let _ = write!(
                    self.body,
                    "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"2\"/>",
                    short(x - 2.0),
                    short(y - 1.0),
                    short(width + 4.0),
                    short(height + 2.0)
                );
            }
            self.body.push_str("</g>");
        }
    }

    fn label(&mut self, text: &str, height: f64) {
        let y = short(self.y + height / 2.0 + 3.5);
        let x = short(LEFT - 8.0);
        let _ = write!(self.body, "<text class=\"label\" x=\"{x}\" y=\"{y}\">{}</text>", escape(text));
    }

    fn rect(&mut self, class: &str, x: f64, width: f64, height: f64, title: &str) {
        let title =
            if title.is_empty() { String::new() } else { format!("<title>{}</title>", escape(title)) };
        let (x, y, width, height) = (short(x), short(self.y), short(width), short(height));
        let _ = write!(
            self.body,
            "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"2\">{title}</rect>"
        );
    }

    /// Position and width of a period; never too narrow to be visible.
    fn place(&self, from: u64, until: u64) -> (f64, f64) {
        let (x, end) = (self.scale.x(from), self.scale.x(until));
        (x, (end - x).max(1.5))
    }

    fn span(&mut self, class: &str, from: u64, until: u64, height: f64, title: &str) {
        let (x, width) = self.place(from, until);
        self.rect(class, x, width, height, title);
    }

    fn stretches(&mut self, stretches: &[Stretch], height: f64) {
        for Stretch { from, until, class, title } in stretches {
            self.span(class, *from, *until, height, title);
            if matches!(*class, "paused" | "quarantined") {
                let (x, width) = self.place(*from, *until);
                self.rect("striped", x, width, height, title);
            }
        }
    }

    fn marks(&mut self, marks: &[Mark], height: f64) {
        for Mark { at, class, title } in marks {
            let (x, y) = (self.scale.x(*at), self.y);
            let (top, bottom) = (short(y - 2.0), short(y + height + 2.0));
            let _ = write!(
                self.body,
                "<path class=\"mark {class}\" d=\"M{} {top}h5l-2.5 4.5zM{} {top}V{bottom}\"><title>{}</title></path>",
                short(x - 2.5),
                short(x),
                escape(title)
            );
        }
    }

    /// Draws one path for each level, because a rectangle for each column would make a file of megabytes.
    fn columns(&mut self, class: &str, shares: &[f64], top: f64, height: f64) {
        let level = |share: f64| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 1")]
            let level = (share.min(1.0) * LEVELS as f64).ceil() as usize;
            level
        };
        // Each path with the column in which it ends.
        let mut paths = vec![(String::new(), 0); LEVELS + 1];
        let mut column = 0;
        while column < COLUMNS {
            let this = level(shares[column]);
            let end = (column..COLUMNS).find(|other| level(shares[*other]) != this).unwrap_or(COLUMNS);
            if this > 0 {
                let (path, ended) = &mut paths[this];
                let _ = write!(path, "m{} 0h{}", column - *ended, end - column);
                *ended = end;
            }
            column = end;
        }
        let (x, y) = (short(LEFT), short(self.y + top + height / 2.0));
        let (unit, thick) = ((RIGHT - LEFT) / COLUMNS as f64, short(height));
        for (level, (path, _)) in paths.iter().enumerate().filter(|(_, (path, _))| !path.is_empty()) {
            let _ = write!(
                self.body,
                "<path class=\"columns {class} l{level}\" transform=\"translate({x} {y}) scale({unit} 1)\" \
                 stroke-width=\"{thick}\" d=\"M0 0{path}\"/>"
            );
        }
    }
}

/// The time of a violation and the clients involved.
fn where_is(violation: &Violation) -> Option<(u64, u64, BTreeSet<usize>)> {
    let number = |name: &str| name.strip_prefix("client ").and_then(|number| number.parse().ok());
    let clients = |names: &[&str]| names.iter().filter_map(|name| number(name)).collect();
    Some(match violation {
        Violation::Overlap { earlier, later } => (
            later.acquired_at,
            earlier.window().end.min(later.window().end),
            clients(&[&earlier.client, &later.client]),
        ),
        Violation::TooMany { holders, later, .. } => {
            let all: Vec<&str> = holders.iter().chain([later]).map(|section| &*section.client).collect();
            (later.acquired_at, later.window().end, clients(&all))
        }
        Violation::TokenReused { first: earlier, second: later }
        | Violation::TokenNotGrown { earlier, later, .. } => {
            (later.acquired_at, later.window().end, clients(&[&earlier.client, &later.client]))
        }
        Violation::Stuck { waiter, since, .. } => (*since, waiter.left_at, clients(&[&waiter.client])),
        Violation::LossLate { loss, due, .. } => (*due, loss.told_at, clients(&[&loss.client])),
        Violation::Revived { loss } => {
            (loss.told_at, loss.valid_again_at.unwrap_or(loss.told_at), clients(&[&loss.client]))
        }
        Violation::StaleWrite { write, before } => {
            (write.at, write.at, clients(&[&before.client, &write.client]))
        }
        Violation::Misrecorded { section } => {
            (section.requested_at, section.acquired_at, clients(&[&section.client]))
        }
        // A key that was left behind belongs to no time of the run.
        Violation::KeyLeft { .. } | _ => return None,
    })
}
