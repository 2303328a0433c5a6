//! A scenario file in TOML. Each value knows its line and column. Mistakes are collected, so that all are reported at
//! once.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range as Bytes;
use std::rc::Rc;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// The longest word that is compared with known words, because the comparison takes quadratic time.
const COMPARED_BYTES_MAX: usize = 64;

/// A position in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spot {
    file: String,
    /// Counted from 1, as is the column, which counts characters.
    line: usize,
    column: usize,
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// One mistake and its position.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mistake {
    pub(super) spot: Spot,
    pub(super) text: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.spot, self.text)
    }
}

/// A named file, with the mistakes found in it.
#[derive(Debug)]
pub(super) struct Source<'a> {
    file: &'a str,
    text: &'a str,
    mistakes: RefCell<Vec<Mistake>>,
}

impl<'a> Source<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Rc<Self> {
        Rc::new(Self { file, text, mistakes: RefCell::default() })
    }

    pub(super) fn spot(&self, span: &Bytes<usize>) -> Spot {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.rfind('\n').map_or(0, |newline| newline + 1);
        Spot {
            file: self.file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line..].chars().count() + 1,
        }
    }

    pub(super) fn note(&self, spot: Spot, text: impl fmt::Display) {
        self.mistakes.borrow_mut().push(Mistake { spot, text: text.to_string() });
    }

    /// All mistakes, in the order of the file.
    pub(super) fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = self.mistakes.take();
        mistakes.sort();
        mistakes
    }
}

/// The fields of a table that have not been taken yet.
pub(super) struct Fields<'a, 'v> {
    pub(super) source: Rc<Source<'a>>,
    /// The table's own position.
    pub(super) spot: Spot,
    /// The table's name with a dot; empty for the top level.
    prefix: &'static str,
    left: Vec<(&'v str, Spot, &'v Spanned<DeValue<'v>>)>,
}

impl<'a, 'v> Fields<'a, 'v> {
    pub(super) fn new(
        source: &Rc<Source<'a>>,
        prefix: &'static str,
        span: &Bytes<usize>,
        table: &'v DeTable<'v>,
    ) -> Self {
        let field = |(key, value): (&'v Spanned<_>, _)| {
            let name: &'v std::borrow::Cow<'v, str> = key.get_ref();
            (name.as_ref(), source.spot(&key.span()), value)
        };
        let left = table.iter().map(field).collect();
        Self { source: Rc::clone(source), spot: source.spot(span), prefix, left }
    }

    /// Takes a field without interpreting its value.
    pub(super) fn take(&mut self, name: &str) -> Option<&'v Spanned<DeValue<'v>>> {
        let at = self.left.iter().position(|(field, ..)| *field == name)?;
        Some(self.left.swap_remove(at).2)
    }

    /// Takes a field and returns its value and position; `None` if the field is absent. A wrong value is reported as a
    /// mistake and also gives `None`.
    pub(super) fn optional<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<(T, Spot)> {
        let value = self.take(name)?;
        let spot = self.source.spot(&value.span());
        match read(value.get_ref()) {
            Ok(read) => Some((read, spot)),
            Err(expected) => {
                let text = format!("{}{name}: {}; {expected}", self.prefix, shown(value.get_ref()));
                self.source.note(spot, text);
                None
            }
        }
    }

    /// Takes a field as [`optional`](Self::optional) does, but reports a missing field as a mistake.
    pub(super) fn required<T>(
        &mut self,
        name: &str,
        what: &str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<(T, Spot)> {
        if !self.left.iter().any(|(field, ..)| *field == name) {
            self.note(format_args!("{what} needs {name}"));
        }
        self.optional(name, read)
    }

    /// Takes a field that is a table.
    pub(super) fn table(&mut self, name: &str, prefix: &'static str) -> Option<Fields<'a, 'v>> {
        let value = self.take(name)?;
        let Some(table) = value.get_ref().as_table() else {
            let text = format!("{}{name}: {}; must be a table", self.prefix, shown(value.get_ref()));
            self.source.note(self.source.spot(&value.span()), text);
            return None;
        };
        Some(Fields::new(&self.source, prefix, &value.span(), table))
    }

    /// Takes the tables of `[[name]]`.
    pub(super) fn tables(&mut self, name: &str, prefix: &'static str) -> Vec<Fields<'a, 'v>> {
        let Some(value) = self.take(name) else { return Vec::new() };
        let tables = value.get_ref().as_array().and_then(|items| items.iter().map(table_of).collect());
        let Some(tables): Option<Vec<_>> = tables else {
            let text = format!("{}{name}: must be tables, each under [[{}{name}]]", self.prefix, self.prefix);
            self.source.note(self.source.spot(&value.span()), text);
            return Vec::new();
        };
        tables.into_iter().map(|(span, table)| Fields::new(&self.source, prefix, &span, table)).collect()
    }

    /// Reports a mistake of the table as a whole.
    pub(super) fn note(&self, text: impl fmt::Display) {
        self.source.note(self.spot.clone(), text);
    }

    /// Reports every field that is left as a mistake: either its name is not among the `known` ones, or `why` returns
    /// the reason why the field does not belong here.
    pub(super) fn finish(self, known: &[&str], why: impl Fn(&str) -> Option<String>) {
        for (name, spot, _) in &self.left {
            let unknown = || {
                let meant = suggestion(name, known.iter().copied());
                Some(format!("{}{name}: no such field{meant}", self.prefix))
            };
            let text = if known.contains(name) { why(name) } else { unknown() };
            text.into_iter().for_each(|text| self.source.note(spot.clone(), text));
        }
    }
}

fn table_of<'v>(item: &'v Spanned<DeValue<'v>>) -> Option<(Bytes<usize>, &'v DeTable<'v>)> {
    Some((item.span(), item.get_ref().as_table()?))
}

/// A value as messages quote it.
pub(super) fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.as_str().to_owned(),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(is) => is.to_string(),
        DeValue::Datetime(date) => date.to_string(),
        DeValue::Array(items) => list(items),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

fn list(items: &DeArray<'_>) -> String {
    let items: Vec<String> = items.iter().map(|item| shown(item.get_ref())).collect();
    format!("[{}]", items.join(", "))
}

/// The known word that was probably meant, as the end of a sentence. At most a third of the word's letters may be
/// wrong.
pub(super) fn suggestion<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> String {
    if word.len() > COMPARED_BYTES_MAX {
        return String::new();
    }
    let distance = |known: &str| strsim::damerau_levenshtein(&word.to_lowercase(), &known.to_lowercase());
    let near = known.map(|known| (distance(known), known)).min();
    let near = near.filter(|(distance, known)| *distance <= known.len().div_ceil(3));
    near.map_or_else(String::new, |(_, known)| format!("; did you mean {known}?"))
}
