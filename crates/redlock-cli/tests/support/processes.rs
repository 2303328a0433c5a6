//! Observes the processes that a process has started.

use std::fs;
use std::thread;
use std::time::Duration;

/// Processes may take 10 s to end: 500 checks, 20 ms apart.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
const END_LOOKS: usize = 500;

/// The processes whose parent is `parent`.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    let parent = parent.to_string();
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        (status(pid)?.1 == parent).then_some(pid)
    });
    processes.collect()
}

/// State and parent of a process; `None` if it does not exist.
fn status(pid: u32) -> Option<(String, String)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before the state may contain any character, blanks and parentheses included.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().map(str::to_owned);
    Some((fields.next()?, fields.next()?))
}

/// Waits until all have ended. A zombie that init has not reaped counts as ended.
pub(crate) fn await_end(processes: &[u32]) {
    let alive =
        || processes.iter().copied().filter(|pid| status(*pid).is_some_and(|(state, _)| state != "Z"));
    for _ in 0..END_LOOKS {
        if alive().next().is_none() {
            return;
        }
        thread::sleep(LOOK_INTERVAL);
    }
    panic!("still there: {:?}", alive().collect::<Vec<_>>());
}
