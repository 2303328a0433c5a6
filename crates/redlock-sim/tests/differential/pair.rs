//! A real server and the simulated one, which are asked the same.

use std::io::{BufReader, Write};
use std::net::TcpStream;

use redlock_sim::{ConnectionId, Persistence, Server, Settings, User, Version, WallTime};
use redlock_testing::{Durability, LocalCluster};

use crate::steps::{Act, FEW, KEYS, Step};
use crate::wire::{Texts, Wire, request, words};

/// Which of the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Resp3,
    Resp2,
    /// A user who may do less.
    Few,
    /// Speaks RESP2, and does little but listen.
    Listener,
    /// Looks at the state.
    Watcher,
}

pub(crate) const ALL: [Who; 5] = [Who::Resp3, Who::Resp2, Who::Few, Who::Listener, Who::Watcher];

/// A step that takes longer means that the machine stood still. Then the two servers were asked at different times.
const STILL_MICROS: u64 = 200_000;

pub(crate) struct Pair {
    cluster: LocalCluster,
    real: Vec<BufReader<TcpStream>>,
    simulated: Server,
    ids: Vec<ConnectionId>,
    dbs: [usize; 5],
    now: WallTime,
    /// Whether the machine stood still since the last reset.
    pub(crate) stood_still: bool,
    texts: Texts,
    asked: u64,
}

/// The two said different things.
#[derive(Debug)]
pub(crate) struct Difference(pub(crate) String);

impl Pair {
    pub(crate) fn start() -> Self {
        let cluster = LocalCluster::builder().nodes(1).durability(Durability::Volatile).undeclared();
        let cluster = cluster.start().unwrap();
        let info = cluster.command(0, &["INFO", "server"]).unwrap();
        let info = info.text().unwrap();
        let version = Version::of_info(info);
        let known = [
            "redis_version:6.2",
            "redis_version:7.0",
            "redis_version:8.0",
            "redis_version:8.6",
            "valkey_version:8",
        ];
        let texts = if known.iter().any(|known| info.contains(known)) { Texts::Whole } else { Texts::Codes };
        // Redis 6.2 cannot deny a subcommand.
        let config = if version == Version::Redis6 { "config" } else { "config|get" };
        let [name, password, rest @ ..] = FEW;
        let (password_rule, config_rule) = (format!(">{password}"), format!("-{config}"));
        let rules = [&["ACL", "SETUSER", name, "on", &password_rule], &rest[..], &[&config_rule]].concat();
        assert_eq!(cluster.command(0, &rules).unwrap().text(), Some("OK"));
        let few = User {
            password: Some(password.into()),
            denied: ["pttl".to_owned(), config.to_owned()].into(),
            keys: Some(vec!["k".into(), "q".into()]),
            channels: Some(vec!["c".into()]),
        };
        let mut settings = Settings { version, persistence: Persistence::None, ..Settings::default() };
        settings.users.insert(name.into(), few);
        let simulated = Server::new("differential", settings, WallTime(0));
        let mut pair = Self {
            cluster,
            real: vec![],
            simulated,
            ids: vec![],
            dbs: [0; 5],
            now: WallTime(0),
            stood_still: false,
            texts,
            asked: 0,
        };
        pair.connect();
        pair
    }

    /// New connections and no data.
    pub(crate) fn reset(&mut self) -> Result<(), Difference> {
        for act in [Act::Full(false), Act::Replica(false)] {
            self.act(&act)?;
        }
        self.ask(Who::Watcher, &words(&["FLUSHALL"]))?;
        self.ask(Who::Watcher, &words(&["SCRIPT", "FLUSH"]))?;
        for id in self.ids.drain(..) {
            self.simulated.disconnect(id);
        }
        self.real.clear();
        self.connect();
        self.stood_still = false;
        Ok(())
    }

    fn connect(&mut self) {
        self.dbs = [0; 5];
        for who in ALL {
            let stream = TcpStream::connect(("127.0.0.1", self.cluster.port(0))).unwrap();
            stream.set_nodelay(true).unwrap();
            self.real.push(BufReader::new(stream));
            self.ids.push(self.simulated.connect(self.now).unwrap());
            let [name, password, ..] = FEW;
            let login = match who {
                Who::Resp3 | Who::Watcher => words(&["HELLO", "3"]),
                Who::Resp2 | Who::Listener => continue,
                Who::Few => words(&["HELLO", "3", "AUTH", name, password]),
            };
            // The replies name the connection; what they have in common is tested elsewhere.
            self.exchange(who, &login);
        }
        self.now = self.time();
    }

    /// Takes one step, and looks at all that it may have touched.
    pub(crate) fn step(&mut self, step: &Step) -> Result<(), Difference> {
        match step {
            Step::Ask(who, request) => {
                let request = self.with_time(request);
                self.ask(*who, &request)?;
                let db = self.dbs[*who as usize];
                // Whoever only listens cannot select.
                if let [name, db] = &request[..]
                    && name.eq_ignore_ascii_case(b"SELECT")
                    && *who != Who::Listener
                {
                    match db.as_slice() {
                        b"0" => self.dbs[*who as usize] = 0,
                        b"1" => self.dbs[*who as usize] = 1,
                        _ => {}
                    }
                }
                let keys = KEYS.iter().map(|key| key.as_bytes());
                let touched = keys.filter(|key| request.iter().any(|word| word == key));
                self.look(db, &touched.collect::<Vec<_>>())
            }
            Step::Act(act) => self.act(act),
        }
    }

    fn act(&mut self, act: &Act) -> Result<(), Difference> {
        match act {
            Act::Full(is_full) => {
                let limit = if *is_full { "1" } else { "0" };
                self.command(&["CONFIG", "SET", "maxmemory", limit]);
                self.simulated.set_full(*is_full);
            }
            Act::Replica(true) => {
                self.command(&["REPLICAOF", "127.0.0.1", "1"]);
                self.simulated.demote();
            }
            Act::Replica(false) => {
                self.command(&["REPLICAOF", "NO", "ONE"]);
                self.simulated.promote();
            }
            Act::Outlive(key) => {
                self.ask(Who::Watcher, &words(&["SELECT", "0"]))?;
                self.ask(Who::Watcher, &words(&["PEXPIRE", key, "2"]))?;
                std::thread::sleep(std::time::Duration::from_millis(8));
                self.go_on();
                self.look(0, &[key.as_bytes()])?;
            }
        }
        Ok(())
    }

    fn command(&self, words: &[&str]) {
        let reply = self.cluster.command(0, words).unwrap();
        assert!(reply.text().is_some_and(|text| text.starts_with("OK")), "{words:?}: {reply:?}");
    }

    fn look(&mut self, db: usize, keys: &[&[u8]]) -> Result<(), Difference> {
        let mut requests = vec![words(&["SELECT", &db.to_string()])];
        for key in keys {
            for mut command in [
                words(&["TYPE"]),
                words(&["GET"]),
                words(&["HGETALL"]),
                words(&["ZREVRANGE", "0", "-1", "WITHSCORES"]),
                words(&["PTTL"]),
            ] {
                command.insert(1, key.to_vec());
                requests.push(command);
            }
        }
        self.ask_all(Who::Watcher, &requests)?;
        self.go_on();
        Ok(())
    }

    /// The simulated server's time follows the real one's.
    pub(crate) fn go_on(&mut self) {
        let before = self.now;
        self.now = self.time();
        self.stood_still |= self.now.0.saturating_sub(before.0) > STILL_MICROS;
    }

    fn ask(&mut self, who: Who, request: &[Vec<u8>]) -> Result<(), Difference> {
        self.ask_all(who, &[request.to_vec()])
    }

    /// Sends requests and a mark behind them, and compares all that comes before it.
    fn ask_all(&mut self, who: Who, requests: &[Vec<Vec<u8>>]) -> Result<(), Difference> {
        self.asked += 1;
        let mark = format!("mark {}", self.asked);
        let mut bytes: Vec<u8> = requests.iter().flat_map(|words| request(words)).collect();
        bytes.extend(request(&words(&["PING", &mark])));
        let id = self.ids[who as usize];
        self.real[who as usize].get_mut().write_all(&bytes).unwrap();
        let real = until(&mut self.real[who as usize], &mark);
        self.simulated.receive(id, &bytes, self.now);
        let said = self.simulated.take_output(id);
        let simulated = until(&mut said.as_slice(), &mark);
        let sorted = |replies: Vec<Wire>| -> Vec<Wire> {
            let of = |index: usize| &requests[index.min(requests.len() - 1)][0];
            let replies = replies.into_iter().enumerate();
            replies.map(|(index, reply)| in_order(who, of(index), reply)).collect()
        };
        let (real, simulated) = (sorted(real), sorted(simulated));
        let agree = real.len() == simulated.len()
            && real.iter().zip(&simulated).all(|(real, simulated)| simulated.agrees(real, self.texts));
        if agree {
            return Ok(());
        }
        let asked: Vec<_> = requests.iter().map(|words| shown(words)).collect();
        Err(Difference(format!("{who:?} {asked:#?}\nreal      {real:?}\nsimulated {simulated:?}")))
    }

    /// One request to both without a mark; the replies.
    pub(crate) fn exchange(&mut self, who: Who, words: &[Vec<u8>]) -> [Wire; 2] {
        let bytes = request(words);
        let real = &mut self.real[who as usize];
        real.get_mut().write_all(&bytes).unwrap();
        let real = Wire::read(real).unwrap();
        let id = self.ids[who as usize];
        self.simulated.receive(id, &bytes, self.now);
        let said = self.simulated.take_output(id);
        [real, Wire::read(&mut said.as_slice()).unwrap()]
    }

    /// What the real server's clock says.
    fn time(&mut self) -> WallTime {
        let [real, _] = self.exchange(Who::Watcher, &words(&["TIME"]));
        let part = |index: usize| {
            let digits = std::str::from_utf8(real.items()[index].bulk().unwrap()).unwrap();
            digits.parse::<u64>().unwrap()
        };
        WallTime(part(0) * 1_000_000 + part(1))
    }

    /// `NOW` and an offset in seconds become microseconds.
    fn with_time(&self, request: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let filled = request.iter().map(|word| {
            let text = String::from_utf8_lossy(word);
            let Some((before, offset)) = text.split_once("NOW") else { return word.clone() };
            let offset: i64 = offset.parse().unwrap_or(0);
            format!("{before}{}", self.now.0.saturating_add_signed(offset * 1_000_000)).into_bytes()
        });
        filled.collect()
    }
}

fn until(from: &mut impl std::io::BufRead, mark: &str) -> Vec<Wire> {
    let mut replies = Vec::new();
    loop {
        let Ok(reply) = Wire::read(from) else {
            replies.push(Wire::Line("nothing more".into()));
            return replies;
        };
        // A listener is answered in another way.
        let is_mark = |reply: &Wire| reply.bulk() == Some(mark.as_bytes());
        if is_mark(&reply)
            || reply.items().get(1).is_some_and(|second| is_mark(second) && reply.items().len() == 2)
        {
            return replies;
        }
        replies.push(reply);
    }
}

/// Fields, options and scanned keys come in any order. So do members for the watcher: scores that scripts have made of two
/// readings of the time agree to a millisecond, and may stand in another order.
fn in_order(who: Who, command: &[u8], reply: Wire) -> Wire {
    match (command.to_ascii_uppercase().as_slice(), who) {
        (b"HGETALL" | b"CONFIG", _) => reply.sorted(2),
        (b"SCAN", _) | (b"ZREVRANGE", Who::Watcher) => reply.sorted(1),
        _ => reply,
    }
}

fn shown(words: &[Vec<u8>]) -> String {
    let words = words.iter().map(|word| String::from_utf8_lossy(word).chars().take(60).collect::<String>());
    words.collect::<Vec<_>>().join(" ")
}
