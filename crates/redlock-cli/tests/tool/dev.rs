//! `redlock dev`: the servers live exactly as long as the command.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;

use rustix::process::Signal;

use crate::support::{Running, Scene, eventually, is_heard};

#[test]
fn its_servers_answer_until_a_signal_ends_it() {
    let scene = Scene::new(1);
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        if !is_heard(signal) {
            continue;
        }
        let tool = scene.start(&["dev", "--nodes", "3"]);
        let urls = urls(&tool);
        assert_eq!(urls.len(), 3);
        assert_eq!(tool.stdout(), format!("{}\nexport REDLOCK_NODES={}\n", urls.join("\n"), urls.join(",")));
        for url in &urls {
            assert_eq!(ask(url, "PING", 1), ["+PONG"]);
        }
        let data = ask(&urls[0], "CONFIG GET dir", 5).pop().unwrap();
        assert!(Path::new(&data).is_dir(), "{data}");
        tool.signal(signal);
        assert_eq!(tool.finish().code, Some(0));
        for url in &urls {
            assert!(TcpStream::connect(address(url)).is_err());
        }
        assert!(!Path::new(&data).parent().unwrap().parent().unwrap().exists(), "{data}");
    }
}

#[test]
fn json_is_one_object_on_one_line() {
    let scene = Scene::new(1);
    let tool = scene.start(&["dev", "--json", "--quiet"]);
    eventually("it prints", || tool.stdout().ends_with('\n'));
    let value: serde_json::Value = serde_json::from_str(&tool.stdout()).unwrap();
    assert_eq!(tool.stdout().lines().count(), 1);
    let urls: Vec<&str> = value["urls"].as_array().unwrap().iter().filter_map(|url| url.as_str()).collect();
    assert_eq!(urls.len(), 5);
    assert_eq!(ask(urls[4], "PING", 1), ["+PONG"]);
    tool.signal(Signal::TERM);
    let ended = tool.finish();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
}

#[test]
fn it_says_when_a_server_ends() {
    let scene = Scene::new(1);
    let tool = scene.start(&["dev", "--nodes", "2"]);
    let urls = urls(&tool);
    ask(&urls[1], "SHUTDOWN NOSAVE", 0);
    let text = format!("redlock: {} has ended\n", urls[1]);
    eventually("it says so", || tool.stderr().contains(&text));
    tool.signal(Signal::TERM);
    assert_eq!(tool.finish().code, Some(0));
}

#[test]
fn its_urls_are_good_for_run_and_node_goes_before_the_environment() {
    let scene = Scene::new(1);
    let tool = scene.start(&["dev"]);
    let nodes: Vec<String> = urls(&tool).iter().map(|url| format!("--node={url}")).collect();
    assert_eq!(nodes.len(), 5);
    // The nodes to which the environment points.
    scene.kill(&[0]);
    let nodes = nodes.iter().map(String::as_str);
    let arguments: Vec<&str> =
        ["run", "--no-wait"].into_iter().chain(nodes).chain(["k", "--", "true"]).collect();
    let ended = scene.run(&arguments);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    tool.signal(Signal::TERM);
    assert_eq!(tool.finish().code, Some(0));
}

fn urls(tool: &Running) -> Vec<String> {
    eventually("it prints", || tool.stdout().contains("export ") && tool.stdout().ends_with('\n'));
    tool.stdout().lines().filter(|line| line.starts_with("redis://")).map(str::to_owned).collect()
}

/// Sends one command and returns `lines` lines of the answer.
fn ask(url: &str, command: &str, lines: usize) -> Vec<String> {
    let mut connection = TcpStream::connect(address(url)).unwrap();
    write!(connection, "{command}\r\n").unwrap();
    BufReader::new(connection).lines().take(lines).map(Result::unwrap).collect()
}

fn address(url: &str) -> &str {
    url.strip_prefix("redis://").unwrap()
}
