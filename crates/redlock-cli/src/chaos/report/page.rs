//! report.html: one file without scripts that needs no network.

use std::fmt::Write as _;

use redlock_testing::history::Violation;

use super::text::{counted, seconds};
use super::{Facts, chart, timeline};
use crate::chaos::arena::describe;
use crate::chaos::event::resource_name;
use crate::chaos::judge::{Counts, Finding, relative};
use crate::chaos::plan::Act;

const STYLE: &str = include_str!("style.css");
/// The number of failures shown above the picture; the others can be unfolded.
const SHOWN: usize = 4;
/// The number of violations and faults that are listed; report.json has all.
const LISTED: usize = 200;

pub(super) fn of(facts: Facts<'_>) -> String {
    let Facts { run, judgement, .. } = facts;
    let (class, verdict) = match judgement.finding() {
        Finding::Clean => ("clean", "Clean"),
        Finding::Inconclusive => ("inconclusive", "Inconclusive"),
        Finding::Violated => ("violated", "Not clean"),
    };
    let name = escape(&run.scenario.name);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{verdict}: redlock chaos {name}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <header><p class=\"badge {class}\">{verdict}</p><h1>redlock chaos: {name}</h1>\
         <p class=\"about\">{about}</p><p class=\"setup\">{setup}</p></header>\n\
         {wrong}{figures}\n<h2>Timeline</h2>\n{legend}\n{timeline}\n\
         <h2>Time to get a lock</h2>\n{chart_legend}\n{chart}\n\
         {denied}{excused}{faults}{again}\n</main>\n</body>\n</html>\n",
        about = escape(&run.scenario.about),
        setup = escape(&setup(facts)),
        wrong = wrong(facts),
        figures = figures(facts),
        legend = LEGEND,
        timeline = timeline::of(facts),
        chart_legend = CHART_LEGEND,
        chart = chart::of(facts),
        denied = denied(facts),
        excused = excused(facts),
        faults = faults(facts),
        again = again(facts),
    )
}

const LEGEND: &str = "<p class=\"legend\"><b>Nodes</b> <i class=\"up\"></i>up <i class=\"down\"></i>down \
                      <i class=\"paused\"></i>paused <i class=\"cut\"></i>cut off <i class=\"link\"></i>bad link \
                      <i class=\"memory\"></i>out of memory <i class=\"clock\"></i>wrong clock \
                      <i class=\"quarantined\"></i>quarantined \
                      <b>Clients</b> <i class=\"holding\"></i>holding <i class=\"waiting\"></i>waiting \
                      <i class=\"lost\"></i>lost <i class=\"down\"></i>dead <i class=\"way cut\"></i>cut off from nodes \
                      <i class=\"way link\"></i>bad link to nodes <i class=\"violation\"></i>violation</p>";

const CHART_LEGEND: &str = "<p class=\"legend\"><i class=\"line p50\"></i>median <i class=\"line p99\"></i>99 % \
                            <i class=\"line slowest\"></i>slowest <span>of the locks that are held briefly</span></p>";

fn setup(facts: Facts<'_>) -> String {
    let Facts { run, log, .. } = facts;
    format!(
        "{} ({}), quorum {}, TTL {:?}, {}, {:.0} s, seed {}",
        counted(run.node_names().len(), "node"),
        run.kind.name(),
        run.promise.quorum,
        run.promise.ttl,
        counted(log.clients.len(), "client"),
        facts.seconds(log.ended_at),
        run.seed
    )
}

fn figures(facts: Facts<'_>) -> String {
    let judgement = facts.judgement;
    let Counts { sections, losses, faults, stale_writes, .. } = judgement.counts;
    let latency = &judgement.latency;
    let figures = [
        (grouped(sections), "sections"),
        (grouped(faults), "faults"),
        (format!("{:.2} %", judgement.availability.share * 100.0), "of the time locks were available"),
        (seconds(judgement.availability.longest_gap().as_secs_f64()), "longest time without"),
        (seconds(latency.percentile(50).as_secs_f64()), "median to get a lock"),
        (seconds(latency.percentile(99).as_secs_f64()), "99 % of locks within"),
        (grouped(losses), "leases lost, all told in time"),
        (grouped(stale_writes), "late writes refused by their token"),
    ];
    let mut text = String::from("<dl class=\"figures\">");
    for (value, what) in figures {
        let what = match what {
            "leases lost, all told in time" if has_late(judgement.violations.as_slice()) => "leases lost",
            what => what,
        };
        let _ = write!(text, "<div><dd>{value}</dd><dt>{what}</dt></div>");
    }
    text.push_str("</dl>");
    text
}

fn has_late(violations: &[Violation]) -> bool {
    violations
        .iter()
        .any(|violation| matches!(violation, Violation::LossLate { .. } | Violation::Revived { .. }))
}

fn wrong(facts: Facts<'_>) -> String {
    let section = |class: &str, title: &str, texts: &[String]| match texts {
        [] => String::new(),
        texts => format!("<section class=\"{class}\"><h2>{title}</h2>{}</section>\n", list(texts)),
    };
    let wrong = section("wrong", "What is wrong", &facts.judgement.wrong);
    wrong + &section("untested", "What was not tested", &facts.judgement.untested)
}

/// The table of clients that could not acquire a lock.
fn denied(facts: Facts<'_>) -> String {
    let denied = &facts.judgement.denied;
    if denied.is_empty() {
        return String::new();
    }
    let row = |denied: &crate::chaos::judge::Denied| {
        format!(
            "<tr><td>client {}</td><td>{}</td><td>{:.1} s</td><td>{}</td><td>{}</td></tr>",
            denied.client,
            escape(&resource_name(denied.resource)),
            facts.seconds(denied.from),
            seconds(denied.length().as_secs_f64()),
            escape(&denied.why)
        )
    };
    let rows: String = denied.iter().take(LISTED).map(row).collect();
    format!(
        "<h2>Clients that could not acquire a lock</h2>\n<div class=\"scroll\"><table><thead><tr><th>who</th><th>lock</th>\
         <th>from</th><th>for</th><th>why</th></tr></thead><tbody>{rows}</tbody></table></div>\n"
    )
}

/// A list that shows its first items; the others can be unfolded.
fn list(texts: &[String]) -> String {
    let items =
        |texts: &[String]| texts.iter().map(|text| format!("<li>{}</li>", escape(text))).collect::<String>();
    let (first, rest) = texts.split_at(texts.len().min(SHOWN));
    let mut list = format!("<ul>{}</ul>", items(first));
    if !rest.is_empty() {
        let listed = &rest[..rest.len().min(LISTED)];
        let _ = write!(list, "<details><summary>and {} more</summary><ul>{}", rest.len(), items(listed));
        if listed.len() < rest.len() {
            list.push_str("<li>all of them are in report.json</li>");
        }
        list.push_str("</ul></details>");
    }
    list
}

fn excused(facts: Facts<'_>) -> String {
    let Facts { log, judgement, .. } = facts;
    if judgement.excused.is_empty() {
        return String::new();
    }
    let texts: Vec<String> =
        judgement.excused.iter().map(|violation| relative(violation, log.began_at)).collect();
    format!(
        "<h2>Outside of the assumptions</h2>\n<p>A fault broke an assumption on which exclusion rests, on purpose. \
         These {} times exclusion was broken, as the lock does not promise otherwise; the fencing tokens were in \
         order, and the store refused {} writes by them.</p>{}\n",
        judgement.excused.len(),
        judgement.counts.stale_writes,
        list(&texts)
    )
}

fn faults(facts: Facts<'_>) -> String {
    let Facts { run, log, judgement } = facts;
    let mut rows = String::new();
    for (hit, recovery) in log.hits.iter().zip(&judgement.recoveries).take(LISTED) {
        let lasted = match hit.healed_at {
            Some(healed_at) if healed_at > hit.applied_at => {
                seconds((facts.seconds(healed_at) - facts.seconds(hit.applied_at)).max(0.0))
            }
            Some(_) | None => String::new(),
        };
        let breaks = match &hit.act {
            Act::Node { nemesis, .. } => run.promise.broken_by(nemesis),
            Act::Client { .. } => None,
        };
        let after = |time: Option<std::time::Duration>| {
            time.map_or_else(|| "never".to_owned(), |time| seconds(time.as_secs_f64()))
        };
        let _ = write!(
            rows,
            "<tr><td>{:.1} s</td><td>{}</td><td>{lasted}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            facts.seconds(hit.at),
            escape(&describe(log, &hit.act, hit.name)),
            after(recovery.after_fault),
            if lasted.is_empty() { String::new() } else { after(recovery.after_healing) },
            breaks.map_or_else(String::new, |assumption| format!("breaks “{assumption}”")),
        );
    }
    let more = log.hits.len().saturating_sub(LISTED);
    let more = if more > 0 { format!("<p>{more} more are in report.json.</p>") } else { String::new() };
    format!(
        "<h2>Faults</h2>\n<div class=\"scroll\"><table><thead><tr><th>at</th><th>what</th><th>lasted</th>\
         <th>next lock after</th><th>after healing</th><th></th></tr></thead><tbody>{rows}</tbody></table></div>{more}\n"
    )
}

fn again(facts: Facts<'_>) -> String {
    let run = facts.run;
    let settings: String = run
        .settings_shown()
        .into_iter()
        .map(|(name, value)| format!("<tr><td>{}</td><td>{}</td></tr>", escape(&name), escape(&value)))
        .collect();
    format!(
        "<h2>Run it again</h2>\n<pre>{}</pre>\n<details><summary>Settings</summary><table>{settings}</table></details>\n\
         <p class=\"foot\">redlock-quorum {}</p>",
        escape(&run.command()),
        env!("CARGO_PKG_VERSION")
    )
}

/// A number with thin spaces between thousands.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
