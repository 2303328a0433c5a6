//! Settings of arbitrary bytes: a file, a flag, or a URL. The settings are accepted, or rejected with reasons.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use redlock_quorum::{Redlock, RedlockBuilder, Setting};

/// The first byte decides the kind of the input.
pub(crate) fn run(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(rest);
    let builder = Redlock::builder().nodes(["redis://a", "redis://b", "redis://c"]);
    match kind % 4 {
        0 => judge(Redlock::builder().nodes([&*text])),
        1 => {
            let (setting, value) = text.split_once('=').unwrap_or((&text, ""));
            judge(builder.flag("--set", setting, value));
        }
        2 => {
            // A known setting.
            let settings: Vec<_> = Setting::all().collect();
            let (setting, value) = text.split_at(text.chars().next().map_or(0, char::len_utf8));
            let number = setting.chars().next().map_or(0, u32::from) as usize;
            judge(builder.flag("--set", settings[number % settings.len()].name(), value));
        }
        _ => {
            let file = file();
            fs::write(&file, rest).expect("there is room for a file");
            judge(builder.file(&file));
            judge(Redlock::builder().file(&file));
        }
    }
}

fn judge(builder: RedlockBuilder) {
    let again = builder.clone().settings().map(drop);
    match builder.settings() {
        Ok(settings) => {
            assert!(again.is_ok(), "refused at the second time: {again:?}");
            assert!(settings.quorum() > settings.nodes() / 2 && settings.quorum() <= settings.nodes());
            assert!(settings.ttl() <= settings.max_ttl());
            assert!(settings.min_validity() < settings.ttl());
            let shown = settings
                .effective()
                .map(|(setting, value, place)| format!("{}{value}{place}", setting.name()));
            assert!(shown.count() > 10);
            let _ = (settings.warnings(), format!("{settings:?}"));
        }
        Err(mistakes) => {
            assert!(!mistakes.is_empty(), "refused without a reason");
            assert_eq!(again.as_ref(), Err(&mistakes));
            for mistake in mistakes {
                assert!(!mistake.to_string().is_empty(), "{mistake:?}");
            }
        }
    }
}

/// A file for each process.
fn file() -> PathBuf {
    static DIRECTORY: OnceLock<tempfile::TempDir> = OnceLock::new();
    let directory =
        DIRECTORY.get_or_init(|| tempfile::tempdir().expect("there is a place for temporary files"));
    directory.path().join("r.toml")
}
