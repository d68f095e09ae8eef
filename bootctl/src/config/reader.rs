//! Reads typed values out of TOML and collects everything that is wrong on the way, with places.
//!
//! A [`Section`] is a table, a [`Field`] one key of it. What cannot be read is reported and read
//! as absent, so that one pass finds all problems of a file.

use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::time::Duration;

use init_wire::Account;
use toml_edit::{Item, TableLike, Value};

use super::problem::{Fault, Problem, place};
use crate::name::{Host, nearest};

/// A file being read.
pub(crate) struct Reader<'a> {
    file: Arc<str>,
    text: &'a str,
    problems: RefCell<Vec<Problem>>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(file: Arc<str>, text: &'a str) -> Self {
        Self { file, text, problems: RefCell::default() }
    }

    /// Parses the text and hands its root to `read`; answers what that made of it, unless there
    /// were problems.
    pub(crate) fn read<T>(
        self,
        read: impl FnOnce(&Section<'_>) -> Option<T>,
    ) -> Result<T, Vec<Problem>> {
        let document = match toml_edit::Document::parse(self.text) {
            Ok(document) => document,
            Err(error) => {
                let message = error.message().lines().collect::<Vec<_>>().join(", ");
                self.report(error.span(), None, Fault::Syntax(message));
                return Err(self.problems.into_inner());
            }
        };
        let root = Section { reader: &self, path: None, table: Some(document.as_table()) };
        let made = read(&root);
        let problems = self.problems.take();
        match made {
            Some(made) if problems.is_empty() => Ok(made),
            Some(_) | None => Err(problems),
        }
    }

    fn report(&self, span: Option<Range<usize>>, key: Option<String>, fault: Fault) {
        let place = place(self.text, span);
        self.problems.borrow_mut().push(Problem { file: self.file.clone(), place, key, fault });
    }
}

/// A table, which may be absent: then all its fields are.
#[derive(Clone, Copy)]
pub(crate) struct Section<'a> {
    reader: &'a Reader<'a>,
    path: Option<&'static str>,
    table: Option<&'a dyn TableLike>,
}

/// A key that is there.
#[derive(Clone, Copy)]
pub(crate) struct Field<'a> {
    section: Section<'a>,
    name: &'a str,
    item: &'a Item,
}

impl<'a> Section<'a> {
    /// Reports keys other than `known`.
    pub(crate) fn expect(&self, known: &'static [&'static str]) {
        for (name, _) in self.entries().filter(|(name, _)| !known.contains(name)) {
            let nearest = nearest(name, known.iter().copied());
            self.report_at_key(name, Fault::Unknown { nearest, known });
        }
    }

    /// One key, if it is there.
    pub(crate) fn field(&self, name: &'static str) -> Option<Field<'a>> {
        let item = self.table?.get(name)?;
        Some(Field { section: *self, name, item })
    }

    /// One key, whose absence is reported together with `advice`.
    pub(crate) fn required(&self, name: &'static str, advice: &'static str) -> Option<Field<'a>> {
        let field = self.field(name);
        if field.is_none() {
            self.report_at_key(name, Fault::Missing(advice));
        }
        field
    }

    /// A table within this one.
    pub(crate) fn section(&self, name: &'static str) -> Section<'a> {
        let table = self.field(name).and_then(|field| {
            let table = field.item.as_table_like();
            table.or_else(|| field.wrong("a table"))
        });
        Section { reader: self.reader, path: Some(name), table }
    }

    /// All keys, as fields.
    pub(crate) fn fields(&self) -> impl Iterator<Item = Field<'a>> {
        self.entries().map(|(name, item)| Field { section: *self, name, item })
    }

    fn entries(&self) -> impl Iterator<Item = (&'a str, &'a Item)> + use<'a> {
        self.table.into_iter().flat_map(TableLike::iter)
    }

    fn report_at_key(&self, name: &str, fault: Fault) {
        let key = self.table.and_then(|table| table.key(name));
        self.reader.report(key.and_then(toml_edit::Key::span), Some(self.full(name)), fault);
    }

    fn full(&self, name: &str) -> String {
        self.path.map_or_else(|| name.to_owned(), |path| format!("{path}.{name}"))
    }
}

impl<'a> Field<'a> {
    /// The key without its section.
    pub(crate) fn name(&self) -> &'a str {
        self.name
    }

    /// Reports a fault of the value.
    pub(crate) fn report(&self, fault: Fault) {
        let key = self.section.full(self.name);
        self.section.reader.report(self.item.span(), Some(key), fault);
    }

    /// Reports a fault of the key.
    pub(crate) fn report_key(&self, fault: Fault) {
        self.section.report_at_key(self.name, fault);
    }

    pub(crate) fn string(&self) -> Option<String> {
        self.item.as_str().map(str::to_owned).or_else(|| self.wrong("a string in quotes"))
    }

    /// The value, if it is a string.
    pub(crate) fn text(&self) -> Option<&'a str> {
        self.item.as_str()
    }

    pub(crate) fn strings(&self) -> Option<Vec<String>> {
        let expected = "an array of strings, such as [\"a\", \"b\"]";
        let Some(array) = self.item.as_array() else {
            return self.wrong(expected);
        };
        let mut strings = Vec::new();
        for value in array {
            match value.as_str() {
                Some(text) => strings.push(text.to_owned()),
                None => self.report_element(value, Fault::Type { expected, found: kind(value) }),
            }
        }
        Some(strings)
    }

    pub(crate) fn hosts(&self) -> Option<Vec<Host>> {
        let strings = self.strings()?;
        let mut hosts = Vec::new();
        for (index, text) in strings.iter().enumerate() {
            match (Host::parse(text), self.item.as_array().and_then(|array| array.get(index))) {
                (Ok(host), _) => hosts.push(host),
                (Err(error), Some(value)) => self.report_element(value, Fault::Host(error)),
                (Err(error), None) => self.report(Fault::Host(error)),
            }
        }
        Some(hosts)
    }

    pub(crate) fn bool(&self) -> Option<bool> {
        self.item.as_bool().or_else(|| self.wrong("true or false"))
    }

    pub(crate) fn number(&self, range: RangeInclusive<u32>) -> Option<u32> {
        let (min, max) = range.into_inner();
        self.integer(i64::from(min)..=i64::from(max)).and_then(|value| u32::try_from(value).ok())
    }

    pub(crate) fn integer(&self, range: RangeInclusive<i64>) -> Option<i64> {
        let Some(value) = self.item.as_integer() else {
            return self.wrong("a whole number");
        };
        if range.contains(&value) {
            return Some(value);
        }
        let (min, max) = range.into_inner();
        self.report(Fault::Range { value, min, max });
        None
    }

    pub(crate) fn factor(&self) -> Option<f64> {
        let integer = || self.item.as_integer().and_then(|i| i32::try_from(i).ok()).map(f64::from);
        self.item.as_float().or_else(integer).or_else(|| self.wrong("a number, such as 2.0"))
    }

    pub(crate) fn duration(&self) -> Option<Duration> {
        let text = self.item.as_str().or_else(|| self.wrong(DURATION))?;
        let parsed = parse_duration(text);
        if parsed.is_none() {
            self.report(Fault::Form {
                value: text.to_owned(),
                instead: "write a number with its unit: \"500ms\", \"10s\", \"5m\", \"1h\" or \"7d\"",
            });
        }
        parsed
    }

    pub(crate) fn account(&self) -> Option<Account> {
        match (self.item.as_str(), self.item.as_integer().map(u32::try_from)) {
            (Some(name), _) if !name.is_empty() => Some(Account::Name(name.to_owned())),
            (_, Some(Ok(id))) => Some(Account::Id(id)),
            (Some(_), _) | (None, Some(Err(_)) | None) => self.wrong("a name in quotes or an id"),
        }
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(
        &self,
        choices: &'static [&'static str],
        values: &[T],
    ) -> Option<T> {
        let text = self.string()?;
        let found = choices.iter().zip(values).find(|(choice, _)| **choice == text);
        if found.is_none() {
            self.report(Fault::Choice { value: text, choices });
        }
        found.map(|(_, value)| *value)
    }

    fn wrong<T>(&self, expected: &'static str) -> Option<T> {
        let found = self.item.as_value().map_or("a table", kind);
        self.report(Fault::Type { expected, found });
        None
    }

    fn report_element(&self, value: &Value, fault: Fault) {
        let key = self.section.full(self.name);
        self.section.reader.report(value.span(), Some(key), fault);
    }
}

const DURATION: &str = "a time in quotes, such as \"10s\" or \"500ms\"";

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a string",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number with a fraction",
        Value::Boolean(_) => "a boolean",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "an array",
        Value::InlineTable(_) => "a table",
    }
}

/// At most a year: beyond that a time is a mistake.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let millis = match unit.trim() {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let year = Duration::from_hours(24 * 365);
    number.checked_mul(millis).map(Duration::from_millis).filter(|duration| *duration <= year)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("10s"), Some(Duration::from_secs(10)));
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("7d"), Some(Duration::from_hours(24 * 7)));
        assert_eq!(parse_duration("5 m"), Some(Duration::from_mins(5)));
        for bad in ["", "10", "s", "-1s", "1.5s", "1y", "99999999999999999999s", "9000000h", "ü"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }
}
