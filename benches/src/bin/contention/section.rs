//! One section under the lock, and its recording.

use std::error::Error;
use std::time::Duration;

use redlock_quorum::testing::history::{Section, Sharing};
use redlock_quorum::{Guard, Mutex};
use rustix::time::{ClockId, clock_gettime};

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

pub(crate) const RESOURCE: &str = "the one that all want";
const SECTION: Duration = Duration::from_millis(1);

/// Nanoseconds of a clock that all processes of this machine share.
pub(crate) fn clock() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// Locks, works for a millisecond, releases.
pub(crate) async fn run(client: &str, mutex: &Mutex) -> Result<Section, Failure> {
    let requested_at = clock();
    let guard = mutex.lock().await?;
    let mut section = begun(client, requested_at, &guard);
    // A thread sleeps, because tokio's timer has steps of a millisecond, and a section would take two of them.
    tokio::task::spawn_blocking(|| std::thread::sleep(SECTION)).await?;
    end(&guard, &mut section);
    guard.release().await?;
    Ok(section)
}

pub(crate) fn begun(client: &str, requested_at: u64, guard: &Guard) -> Section {
    Section {
        client: client.to_owned(),
        resource: RESOURCE.to_owned(),
        sharing: Sharing::Exclusive,
        requested_at,
        acquired_at: clock(),
        deadline: 0,
        ended_at: None,
        fencing_token: Some(guard.fencing_token().get()),
    }
}

pub(crate) fn end(guard: &Guard, section: &mut Section) {
    let now = clock();
    section.deadline = now + u64::try_from(guard.remaining().as_nanos()).unwrap_or(0);
    section.ended_at = Some(now);
}

/// The section as a line of text, for another process.
pub(crate) fn to_line(section: &Section) -> String {
    let Section { requested_at, acquired_at, deadline, ended_at, fencing_token, .. } = section;
    let (ended_at, token) = (ended_at.unwrap_or(0), fencing_token.unwrap_or(0));
    format!("{requested_at} {acquired_at} {deadline} {ended_at} {token}")
}

pub(crate) fn from_line(client: &str, line: &str) -> Result<Section, Failure> {
    let numbers: Vec<u64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    let [requested_at, acquired_at, deadline, ended_at, token] = numbers[..] else {
        return Err(format!("{client} said {line:?}").into());
    };
    Ok(Section {
        client: client.to_owned(),
        resource: RESOURCE.to_owned(),
        sharing: Sharing::Exclusive,
        requested_at,
        acquired_at,
        deadline,
        ended_at: Some(ended_at),
        fencing_token: Some(token),
    })
}
