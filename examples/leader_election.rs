//! One leader among many candidates. A candidate campaigns, leads, and steps down at once when the lease is lost.
//!
//! `cargo run -p redlock-examples --example leader_election`
//!
//! Without `REDLOCK_NODES` the example starts three local nodes and three candidates. The first leader resigns. The
//! second leader loses its lease because two nodes hang, and steps down. After the nodes have resumed, a candidate
//! leads again. The exit code is 0 only if there was never more than one leader, and terms grew. With `REDLOCK_NODES`
//! set to URLs with commas between them, the example is one candidate until Ctrl-C; start several.

use std::convert::Infallible;
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use redlock_quorum::testing::LocalCluster;
use redlock_quorum::{LockError, Loss, Redlock};
use tokio::sync::{Notify, mpsc};

/// Longest time without a leader after a leader has crashed.
const TTL: Duration = Duration::from_secs(2);

/// A change in a candidate's state.
#[derive(Debug)]
enum News {
    /// The candidate leads. The term is the fencing token, which all actions of the leader on other systems should
    /// carry.
    Leads {
        term: u64,
    },
    Resigned,
    SteppedDown(Loss),
}

struct Candidate {
    name: &'static str,
    redlock: Redlock,
    /// Notified when the candidate has to resign, for example for a deployment.
    resign: Arc<Notify>,
    news: mpsc::UnboundedSender<(&'static str, News)>,
}

impl Candidate {
    /// Campaigns and leads, again and again, until `resign` is notified.
    async fn serve(self) -> Result<(), LockError> {
        let election = self.redlock.election("reports")?.ttl(TTL).value(self.name);
        loop {
            // A long wait costs nothing, because candidates wait in a queue and are notified.
            let leadership = tokio::select! {
                elected = election.campaign() => elected?,
                () = self.resign.notified() => return Ok(()),
            };
            tokio::select! {
                // First, so that no step of the work is made after the loss.
                biased;
                loss = leadership.lost() => self.tell(News::SteppedDown(loss)),
                () = self.resign.notified() => {
                    self.tell(News::Resigned);
                    // When this fails, the release goes on in the background.
                    let _ = leadership.release().await;
                    return Ok(());
                }
                never = self.lead(leadership.term().get()) => match never {},
            }
        }
    }

    /// The work of a leader, which has no end. When the leadership is lost, this future is dropped at its next await,
    /// and the work stops. For work that has an end there is `Election::lead`.
    async fn lead(&self, term: u64) -> Infallible {
        self.tell(News::Leads { term });
        loop {
            // ... a step of the work ...
            tokio::time::sleep(TTL / 20).await;
        }
    }

    fn tell(&self, news: News) {
        // An error means that nobody listens any more.
        let _ = self.news.send((self.name, news));
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    match std::env::var("REDLOCK_NODES") {
        Ok(nodes) => one_candidate(&nodes).await,
        Err(_) => tell().await,
    }
}

async fn one_candidate(nodes: &str) -> Result<ExitCode, Box<dyn Error>> {
    let redlock = Redlock::connect(nodes.split(',')).await?;
    let (news, mut heard) = mpsc::unbounded_channel();
    let resign = Arc::new(Notify::new());
    let candidate = Candidate { name: "I", redlock: redlock.clone(), resign: Arc::clone(&resign), news };
    let serving = tokio::spawn(candidate.serve());
    println!("I campaign; Ctrl-C ends it.");
    loop {
        tokio::select! {
            news = heard.recv() => match news {
                Some((name, news)) => say(name, &news),
                None => break,
            },
            signal = tokio::signal::ctrl_c() => {
                signal?;
                resign.notify_one();
            }
        }
    }
    serving.await??;
    // Without this, a lock whose release is still under way would last until its TTL.
    redlock.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

/// Plays three candidates, as if on three machines.
async fn tell() -> Result<ExitCode, Box<dyn Error>> {
    let cluster = LocalCluster::start(3)?;
    println!("Three nodes are up. Anna, Bert and Carla want to lead.\n");
    let (news, heard) = mpsc::unbounded_channel();
    let mut resigns = Vec::new();
    for name in ["Anna", "Bert", "Carla"] {
        let redlock = Redlock::connect(cluster.urls()).await?;
        let resign = Arc::new(Notify::new());
        resigns.push((name, Arc::clone(&resign)));
        tokio::spawn(Candidate { name, redlock, resign, news: news.clone() }.serve());
    }
    drop(news);
    let resign =
        |leader: &str| resigns.iter().filter(|(name, _)| *name == leader).for_each(|(_, r)| r.notify_one());
    let mut election = Election { heard, leader: None, term: 0, as_told: true };

    let first = election.until_somebody_leads().await?;
    println!("        ({first} is told to resign, for a deployment.)");
    resign(first);
    let second = election.until_somebody_leads().await?;

    println!("        (Two of the three nodes hang: no quorum. The lease cannot be renewed.)");
    cluster.pause(0)?;
    cluster.pause(1)?;
    election.until_nobody_leads().await?;
    println!("        (The nodes go on.)");
    cluster.resume(0)?;
    cluster.resume(1)?;
    let third = election.until_somebody_leads().await?;

    println!("\nThree terms, one after the other, led by {first}, {second} and {third}.");
    resigns.iter().for_each(|(_, resign)| resign.notify_one());
    if !election.as_told || first == second {
        println!("That is NOT how it should have gone.");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// The current leader, as far as the candidates have reported.
struct Election {
    heard: mpsc::UnboundedReceiver<(&'static str, News)>,
    leader: Option<&'static str>,
    term: u64,
    as_told: bool,
}

impl Election {
    async fn until_somebody_leads(&mut self) -> Result<&'static str, Box<dyn Error>> {
        let before = self.term;
        loop {
            self.hear().await?;
            if let (Some(leader), true) = (self.leader, before < self.term) {
                return Ok(leader);
            }
        }
    }

    async fn until_nobody_leads(&mut self) -> Result<(), Box<dyn Error>> {
        while self.leader.is_some() {
            self.hear().await?;
        }
        Ok(())
    }

    async fn hear(&mut self) -> Result<(), Box<dyn Error>> {
        let (name, news) = self.heard.recv().await.ok_or("all candidates have gone")?;
        say(name, &news);
        match news {
            News::Leads { term } => {
                self.as_told &= self.term < term;
                (self.leader, self.term) = (Some(name), term);
            }
            News::Resigned | News::SteppedDown(_) if self.leader == Some(name) => self.leader = None,
            News::Resigned | News::SteppedDown(_) => {}
        }
        Ok(())
    }
}

fn say(name: &str, news: &News) {
    match news {
        News::Leads { term } => println!("{name:>6}: I lead, in term {term}."),
        News::Resigned => println!("{name:>6}: I resign, and give the lock back."),
        News::SteppedDown(loss) => println!("{name:>6}: I step down: {loss}."),
    }
}
