//! Measures the cost of waiting, compared with the ideal, on five local masters.
//!
//! `cargo run --release -p redlock-bench --bin contention`
//!
//! The ideal rate of one lock is `1 / (section + quorum round trip)`: a client works, and the next client then needs
//! one round trip to a quorum. Both times are measured in the same run. The history checker judges every run, and at
//! the end of a run no key may be left on any node. Exits with 1 when a bar is missed.

#[cfg(unix)]
mod clients;
#[cfg(unix)]
mod crew;
#[cfg(unix)]
mod report;
#[cfg(unix)]
mod scene;
#[cfg(unix)]
mod section;

#[cfg(unix)]
fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let result = match arguments.as_slice() {
        // The program starts itself again, as a contending process.
        [word, name, ttl, urls @ ..] if word == crew::WORKER => runtime.block_on(crew::work(name, ttl, urls)),
        [word, name, ttl, urls @ ..] if word == crew::HOLDER => runtime.block_on(crew::hold(name, ttl, urls)),
        only => runtime.block_on(scene::play(only)),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("contention: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

#[cfg(not(unix))]
fn main() {
    eprintln!("this program pauses and kills processes by signals, which only Unix has");
}
