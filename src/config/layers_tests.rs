//! Settings from several sources: which value wins, and which origin mistakes are reported with.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use super::super::*;

const NODES: &str = "nodes = [\"redis://a\", \"redis://b\", \"redis://c\"]\n";

fn toml(text: &str) -> RedlockBuilder {
    on_top(RedlockBuilder::new(), text)
}

fn on_top(mut builder: RedlockBuilder, text: &str) -> RedlockBuilder {
    file::parse(&mut builder, "r.toml", Path::new(""), text);
    builder
}

fn environment<const N: usize>(builder: RedlockBuilder, variables: [(&str, &str); N]) -> RedlockBuilder {
    builder
        .variables(variables.into_iter().map(|(name, value)| (OsString::from(name), OsString::from(value))))
}

fn mistakes(builder: RedlockBuilder) -> Vec<String> {
    builder.settings().unwrap_err().iter().map(ToString::to_string).collect()
}

fn effective(settings: &Settings) -> BTreeMap<&'static str, (String, String)> {
    settings
        .effective()
        .map(|(setting, value, origin)| (setting.name(), (value, origin.to_string())))
        .collect()
}

#[test]
fn the_example_file_is_what_the_code_says() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/redlock.example.toml");
    let text = std::fs::read_to_string(file).unwrap();
    assert_eq!(text, Setting::example_file(), "write it anew with `redlock config example`");
    let settings = toml(&text).settings().unwrap();
    assert!(
        settings.effective().all(|(setting, _, origin)| {
            (setting.name() == "nodes") == (*origin != SettingOrigin::Default)
        })
    );
}

/// Each line of the example file, alone and without its `#`, is accepted. A line that claims to be the default changes
/// nothing.
#[test]
fn each_line_of_the_example_file_is_the_default() {
    let defaults = effective(&toml(NODES).settings().unwrap());
    let own = ["nodes", "username", "password", "password_file", "password_env", "owner", "max_hold"];
    let own = [
        &own[..],
        &[
            "next_nodes",
            "next_quorum",
            "key_prefix",
            "sentinel_username",
            "sentinel_password",
            "sentinel_password_file",
            "sentinel_password_env",
            "tls_ca_file",
            "tls_cert_file",
            "tls_key_file",
            "tls_server_name",
        ],
    ]
    .concat();
    let mut checked = 0;
    for setting in Setting::all().filter(|setting| !own.contains(&setting.name())) {
        let strategy =
            setting.bounds().contains("only for \"fixed\"").then_some("retry.strategy = \"fixed\"\n");
        let base = format!("{NODES}{}", strategy.unwrap_or_default());
        let given = toml(&format!("{base}{} = {}", setting.name(), setting.example())).settings().unwrap();
        let (value, origin) = &effective(&given)[setting.name()];
        assert!(origin.starts_with("r.toml:"), "{origin}");
        let default = effective(&toml(&base).settings().unwrap())[setting.name()].0.clone();
        assert_eq!(*value, default, "{}", setting.name());
        if setting.default_text().bytes().all(|byte| byte != b' ') {
            assert_eq!(setting.example().trim_matches('"'), setting.default_text(), "{}", setting.name());
        }
        checked += 1;
    }
    assert_eq!(checked + own.len(), Setting::all().count());
    assert!(defaults.len() > 10);
}

/// A method of the builder without a row in the table of settings could not be used from files.
#[test]
fn every_method_of_the_builder_is_a_setting() {
    let files = [
        include_str!("mod.rs"),
        include_str!("guards.rs"),
        include_str!("lists.rs"),
        include_str!("names.rs"),
        include_str!("credentials.rs"),
        include_str!("tls/mod.rs"),
    ];
    let bodies = files.map(|text| {
        let body = &text[text.find("impl RedlockBuilder {").unwrap()..];
        &body[..body.find("\n}\n").unwrap()]
    });
    let methods: Vec<_> = bodies
        .iter()
        .flat_map(|body| body.split("    pub fn ").skip(1))
        .filter(|method| method.split('{').next().unwrap().contains("-> Self"))
        .map(|method| method.split(['(', '<']).next().unwrap())
        // A file cannot give a provider of credentials.
        .filter(|method| !method.ends_with("credentials"))
        .collect();
    assert!(methods.len() > 12, "{methods:?}");
    let names: Vec<_> = Setting::all()
        .flat_map(|setting| [setting.name(), setting.name().split('.').next().unwrap()])
        .collect();
    for method in methods {
        assert!(names.contains(&method), "{method} has no row in config/table");
    }
}

#[test]
fn later_sources_win_and_each_value_knows_its_own() {
    let builder =
        toml(&format!("{NODES}ttl = \"5s\"\nnode_timeout = \"1s\"\nquorum = 3\n[retry]\nfirst = \"1ms\""));
    let builder = environment(
        builder,
        [("REDLOCK_NODE_TIMEOUT", "2s"), ("REDLOCK_QUORUM", "2"), ("REDLOCK_RETRY__LONGEST", "1s")],
    );
    let settings = builder.flag("--quorum", "quorum", "3").max_wait(Duration::ZERO).settings().unwrap();
    let effective = effective(&settings);
    let expected = [
        ("nodes", "redis://a:6379, redis://b:6379, redis://c:6379", "r.toml:1:9"),
        ("ttl", "5s", "r.toml:2:7"),
        ("max_ttl", "20s", "default"),
        ("min_validity", "1s250ms", "default"),
        ("node_timeout", "2s", "REDLOCK_NODE_TIMEOUT"),
        ("quorum", "3", "--quorum"),
        ("max_wait", "0s", "code"),
        ("retry.first", "1ms", "r.toml:6:9"),
        ("retry.longest", "1s", "REDLOCK_RETRY__LONGEST"),
    ];
    for (name, value, origin) in expected {
        assert_eq!(effective[name], (value.to_owned(), origin.to_owned()), "{name}");
    }
    assert!(!effective.contains_key("retry.delay"), "it does not apply");
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_the_file() {
    let text = "nodes = [\"redis://a\", \"redis://b:x\", { url = \"redis://c\", nme = \"c\" }]\n\
                tll = \"5s\"\n  quorum = \"2\"\nttl = 10\nmax_wait = \"30\"\nmax_clock_skew = \"0s\"\n";
    assert_eq!(
        mistakes(toml(text)),
        [
            "r.toml:1:23: nodes: URL number 2: invalid port number; expected redis://[user:password@]host[:port][/db]",
            "r.toml:1:59: nodes.nme: no such setting; did you mean nodes.name?",
            "r.toml:2:1: tll: no such setting; did you mean ttl?",
            "r.toml:3:12: quorum: \"2\"; must be a whole number",
            "r.toml:4:7: ttl: 10; must be a duration with its unit, such as 10s, 250ms or 1m30s",
            "r.toml:5:12: max_wait: \"30\"; must be a duration with its unit, such as 10s, 250ms or 1m30s",
            "r.toml:6:18: max_clock_skew: 0ns; must be above zero",
        ]
    );
}

#[test]
fn what_only_follows_from_a_mistake_is_not_told() {
    // The default ttl replaces the wrong one, and the node_timeout is too long for it.
    let text = format!("{NODES}ttl = 60\nmax_ttl = \"2m\"\nnode_timeout = \"20s\"");
    assert_eq!(mistakes(toml(&text)).len(), 1);
    assert_eq!(mistakes(toml("nodes = [1]\nquorum = 3")).len(), 1);
}

#[test]
fn a_default_that_does_not_fit_is_told_where_its_cause_is() {
    let text = format!("{NODES}ttl = \"200ms\"");
    assert_eq!(
        mistakes(toml(&text)),
        ["r.toml:2:7: node_timeout: 250ms (the default); must be above zero and below the ttl of 200ms"]
    );
}

#[test]
fn a_node_on_both_lists_is_one_node() {
    let text = "nodes = [\"redis://a\", \"redis://b\", \"redis://:own@c\"]\nquorum = 3\n\
                next_nodes = [\"redis://d\", \"redis://c\", \"redis://e\", \"redis://f\"]\n";
    let settings = toml(text).settings().unwrap();
    let names: Vec<_> = settings.nodes.iter().map(|node| &*node.name).collect();
    assert_eq!(names, ["a:6379", "b:6379", "c:6379", "d:6379", "e:6379", "f:6379"]);
    assert_eq!((settings.nodes(), settings.quorum(), settings.tolerated_failures()), (6, 5, 0));
    let shown = |name: &str| effective(&settings)[name].0.clone();
    assert_eq!(shown("next_nodes"), "redis://:***@c:6379, redis://d:6379, redis://e:6379, redis://f:6379");
    assert_eq!((shown("quorum"), shown("next_quorum")), ("3".to_owned(), "3".to_owned()));
    // The same nodes with another quorum are a change as well.
    let same = format!("{NODES}next_nodes = [\"redis://a\", \"redis://b\", \"redis://c\"]\nnext_quorum = 3");
    assert_eq!(toml(&same).settings().unwrap().quorum(), 3);
    assert!(toml(&format!("{NODES}next_nodes = []")).settings().unwrap().quorum.next().is_none());
}

#[test]
fn nodes_may_be_tables_and_share_credentials() {
    let text = "username = \"locks\"\npassword = \"common\"\n[[nodes]]\nurl = \"redis://a\"\nname = \"first\"\n\
                [[nodes]]\nurl = \"redis://u:own@b/1\"\n[[nodes]]\nurl = \"redis://c\"\npassword = \"other\"\n";
    let settings = toml(text).settings().unwrap();
    let nodes: Vec<_> = settings
        .nodes
        .iter()
        .map(|node| {
            let Credentials { username, password } = &node.credentials;
            [&*node.name, username.as_deref().unwrap(), &password.as_ref().unwrap().reveal()].join(" ")
        })
        .collect();
    assert_eq!(nodes, ["first locks common", "b:6379/1 u own", "c:6379 locks other"]);
    let shown = &effective(&settings)["nodes"].0;
    assert_eq!(shown, "first = redis://locks:***@a:6379, redis://u:***@b:6379/1, redis://locks:***@c:6379");
}

#[test]
fn passwords_come_from_files_and_the_environment() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("secret"), "from a file\n").unwrap();
    let file = directory.path().join("redlock.toml");
    std::fs::write(&file, format!("{NODES}password_file = \"secret\"\n")).unwrap();
    let password = |builder: RedlockBuilder| {
        let settings = builder.settings().unwrap();
        settings.nodes[0].credentials.password.as_ref().unwrap().reveal()
    };
    assert_eq!(password(RedlockBuilder::new().file(&file)), "from a file");
    let builder = RedlockBuilder::new().file(&file);
    let settings = environment(builder.clone(), [("REDLOCK_PASSWORD", "typed")]).settings().unwrap();
    let effective = effective(&settings);
    assert_eq!(effective["password"], ("***".to_owned(), "REDLOCK_PASSWORD".to_owned()));
    assert!(!effective.contains_key("password_file"), "another one counts");
    // PATH is certainly set, whatever its value.
    assert!(!password(environment(builder, [("REDLOCK_PASSWORD_ENV", "PATH")])).is_empty());
}

#[test]
fn what_others_put_into_the_environment_is_left_alone() {
    let ignored = [
        ("REDLOCK_CONFIG", "x"),
        ("REDLOCK_RESOURCE", "x"),
        ("REDLOCK_FENCING_TOKEN", "7"),
        ("REDLOCK_HELD", "[]"),
        ("REDLOCK_NODE_IMAGE", "redis"),
        ("REDLOCK_NODE_NET", "172.30.77"),
        ("REDLOCK_NODE_PORTS", "1700"),
        ("REDLOCK_TEST_SEED", "1"),
        ("REDLOCK_A_SERVICE_HOST", "10.0.0.1"),
        ("REDLOCK_A_SERVICE_PORT_REDIS", "6379"),
        ("REDLOCK_A_PORT", "tcp://10.0.0.1:6379"),
        ("REDLOCK_A_PORT_6379_TCP_ADDR", "10.0.0.1"),
        ("REDLOCK_TTL", ""),
        ("PATH", "/bin"),
    ];
    assert_eq!(environment(toml(NODES), ignored).settings().unwrap().ttl(), Duration::from_secs(10));
    assert_eq!(
        mistakes(environment(toml(NODES), [("REDLOCK_MAXTTL", "5s"), ("REDLOCK_ttl", "5s")])),
        [
            "REDLOCK_MAXTTL: no such setting; did you mean REDLOCK_MAX_TTL?",
            "REDLOCK_ttl: no such setting; did you mean REDLOCK_TTL?"
        ]
    );
}
