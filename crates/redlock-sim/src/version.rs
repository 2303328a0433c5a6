//! The servers that are simulated, and where their answers differ.

/// A server program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Redis 6.2.
    Redis6,
    /// Redis 7.0.
    Redis7,
    /// Redis 8.0.
    Redis8,
    /// Redis 8.6.
    Redis86,
    /// Valkey 8.1.
    Valkey8,
}

impl Version {
    /// The version closest to what `INFO` of a real server says of itself.
    #[must_use]
    pub fn of_info(info: &str) -> Self {
        let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        if field("valkey_version").is_some() {
            return Self::Valkey8;
        }
        match field("redis_version").unwrap_or_default() {
            version if version.starts_with("6.") => Self::Redis6,
            version if version.starts_with("7.0") => Self::Redis7,
            version if version.starts_with("7.") || version.starts_with("8.0") => Self::Redis8,
            _ => Self::Redis86,
        }
    }

    /// The program's name in `HELLO`.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Redis6 | Self::Redis7 | Self::Redis8 | Self::Redis86 => "redis",
            Self::Valkey8 => "valkey",
        }
    }

    /// The number in `HELLO`.
    pub(crate) fn number(self) -> &'static str {
        match self {
            Self::Redis6 => "6.2.14",
            Self::Redis7 => "7.0.15",
            Self::Redis8 => "8.0.6",
            Self::Redis86 => "8.6.3",
            Self::Valkey8 => "8.1.1",
        }
    }

    /// From Redis 7.2 on: errors of permissions and numbers are worded anew, and a client that publishes to itself reads
    /// the reply before the message.
    pub(crate) fn is_since_7_2(self) -> bool {
        match self {
            Self::Redis6 | Self::Redis7 => false,
            Self::Redis8 | Self::Redis86 | Self::Valkey8 => true,
        }
    }

    /// Redis 6.2 wraps the errors of scripts, and knows subcommands only as it runs them.
    pub(crate) fn is_6_2(self) -> bool {
        self == Self::Redis6
    }

    pub(crate) fn is_valkey(self) -> bool {
        self == Self::Valkey8
    }

    /// From Redis 8.6 on nobody can subscribe while memory is full.
    pub(crate) fn is_8_6(self) -> bool {
        self == Self::Redis86
    }
}
