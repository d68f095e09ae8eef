//! Reads typed values out of TOML and collects everything that is wrong on the way, with places.
//!
//! A [`Section`] is a table, a [`Field`] one key of it. Which keys there are, their ranges and their
//! defaults stand in the [`Schema`]. What cannot be read is reported and read as its default, so that
//! one pass finds all problems of a file.

use std::borrow::Cow;
use std::cell::RefCell;
use std::iter::once;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use init_wire::Account;
use ipnet::IpNet;
use toml_edit::{Item, TableLike, Value};

use super::problem::{Fault, Problem, place};
use super::schema::{Key, Kind, Least, Schema};
use super::units::{SIZE, TIME, parse_share, parse_size, parse_time, shown_time};
use crate::name::{Host, HostError, nearest};

/// A file being read.
pub(crate) struct Reader<'a> {
    file: Arc<str>,
    text: &'a str,
    schema: Schema,
    problems: RefCell<Vec<Problem>>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(file: Arc<str>, text: &'a str, schema: Schema) -> Self {
        Self { file, text, schema, problems: RefCell::default() }
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
        let table: &dyn TableLike = document.as_table();
        let root = Section { reader: &self, path: Rc::default(), table: Some(table) };
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
#[derive(Clone)]
pub(crate) struct Section<'a> {
    reader: &'a Reader<'a>,
    /// Shared by all of its fields.
    path: Rc<[String]>,
    table: Option<&'a dyn TableLike>,
}

/// A key that is there.
#[derive(Clone)]
pub(crate) struct Field<'a> {
    section: Section<'a>,
    name: &'a str,
    item: Cow<'a, Item>,
}

impl<'a> Section<'a> {
    /// Reports keys that are not in the schema.
    pub(crate) fn expect(&self) {
        let schema = self.reader.schema;
        for (name, _) in self.entries() {
            match schema.find(self.below(name)).map(|key| key.kind) {
                Some(_) => {}
                None if schema.is_table(self.below(name)) => {}
                None => {
                    let known = schema.names(&self.path);
                    let nearest = nearest(name, known.iter().copied());
                    self.report_at_key(name, Fault::Unknown { nearest, known });
                }
            }
        }
    }

    /// Whether the file has it.
    pub(crate) fn is_there(&self) -> bool {
        self.table.is_some()
    }

    /// One key, if it is there.
    pub(crate) fn field(&self, name: &'a str) -> Option<Field<'a>> {
        let item = Cow::Borrowed(self.table?.get(name)?);
        Some(Field { section: self.clone(), name, item })
    }

    /// What a key says, or what the schema says without it.
    pub(crate) fn get<T>(
        &self,
        name: &'a str,
        read: impl Fn(&Field<'a>) -> Option<T>,
    ) -> Option<T> {
        if let Some(value) = self.field(name).and_then(|field| read(&field)) {
            return Some(value);
        }
        let item = Cow::Borrowed(self.reader.schema.default(self.below(name))?);
        let section = Section { table: None, ..self.clone() };
        read(&Field { section, name, item })
    }

    /// One key, whose absence is reported together with `advice`.
    pub(crate) fn required(&self, name: &'a str, advice: &'static str) -> Option<Field<'a>> {
        let field = self.field(name);
        if field.is_none() {
            self.report_at_key(name, Fault::Missing(advice));
        }
        field
    }

    /// A table within this one, of which only known keys are expected.
    pub(crate) fn section(&self, name: &'a str) -> Section<'a> {
        let item = self.table.and_then(|table| table.get(name));
        let table = item.and_then(Item::as_table_like);
        if item.is_some() && table.is_none() {
            self.field(name).and_then(|field| field.wrong::<()>("a table"));
        }
        let section = Section {
            reader: self.reader,
            path: self.below(name).map(str::to_owned).collect(),
            table,
        };
        section.expect();
        section
    }

    /// All keys, as fields.
    pub(crate) fn fields(&self) -> impl Iterator<Item = Field<'a>> {
        let section = self.clone();
        self.entries().map(move |(name, item)| Field {
            section: section.clone(),
            name,
            item: Cow::Borrowed(item),
        })
    }

    fn entries(&self) -> impl Iterator<Item = (&'a str, &'a Item)> + use<'a> {
        self.table.into_iter().flat_map(TableLike::iter)
    }

    fn report_at_key(&self, name: &str, fault: Fault) {
        let key = self.table.and_then(|table| table.key(name));
        let path = self.shown(name);
        self.reader.report(key.and_then(toml_edit::Key::span), Some(path), fault);
    }

    /// The path of one key.
    fn below<'p>(&'p self, name: &'p str) -> impl Iterator<Item = &'p str> + Clone {
        self.path.iter().map(String::as_str).chain(once(name))
    }

    fn shown(&self, name: &str) -> String {
        self.below(name).collect::<Vec<_>>().join(".")
    }
}

impl<'a> Field<'a> {
    /// The key without its section.
    pub(crate) fn name(&self) -> &'a str {
        self.name
    }

    /// Reports a fault of the value.
    pub(crate) fn report(&self, fault: Fault) {
        self.report_at(self.item.span(), fault);
    }

    /// Reports a fault of the key.
    pub(crate) fn report_key(&self, fault: Fault) {
        self.section.report_at_key(self.name, fault);
    }

    /// Reports a fault of one element of an array.
    pub(crate) fn report_element(&self, index: usize, fault: Fault) {
        let element = self.item.as_array().and_then(|array| array.get(index));
        self.report_at(element.map_or_else(|| self.item.span(), Value::span), fault);
    }

    pub(crate) fn string(&self) -> Option<String> {
        self.item.as_str().map(str::to_owned).or_else(|| self.wrong("a string in quotes"))
    }

    /// The value, if it is a string.
    pub(crate) fn text(&self) -> Option<&str> {
        self.item.as_str()
    }

    pub(crate) fn strings(&self) -> Option<Vec<String>> {
        let expected = "an array of strings, such as [\"a\", \"b\"]";
        let Some(array) = self.item.as_array() else {
            return self.wrong(expected);
        };
        let mut strings = Vec::new();
        for (index, value) in array.iter().enumerate() {
            match value.as_str() {
                Some(text) => strings.push(text.to_owned()),
                None => self.report_element(index, Fault::Type { expected, found: kind(value) }),
            }
        }
        Some(strings)
    }

    /// Hosts, each perhaps with `*.` for all below.
    pub(crate) fn hosts(&self) -> Option<Vec<Host>> {
        self.hosts_by(Host::parse_many)
    }

    /// Hosts of which each is one.
    pub(crate) fn single_hosts(&self) -> Option<Vec<Host>> {
        self.hosts_by(Host::parse)
    }

    fn hosts_by(&self, parse: fn(&str) -> Result<Host, HostError>) -> Option<Vec<Host>> {
        let mut hosts = Vec::new();
        for (index, text) in self.strings()?.iter().enumerate() {
            match parse(text) {
                Ok(host) => hosts.push(host),
                Err(error) => self.report_element(index, Fault::Host(error)),
            }
        }
        Some(hosts)
    }

    /// Addresses and networks, as the proxy reads them.
    pub(crate) fn networks(&self) -> Option<Vec<String>> {
        let texts = self.strings()?;
        for (index, text) in texts.iter().enumerate() {
            let is_address = text.parse::<std::net::IpAddr>().is_ok();
            let network = text.parse::<IpNet>().ok().filter(|network| network.trunc() == *network);
            if !is_address && network.is_none() {
                let instead = "write an address or a network without bits behind its length, such \
                               as 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32";
                self.report_element(index, Fault::Form { value: text.clone(), instead });
            }
        }
        Some(texts)
    }

    pub(crate) fn bool(&self) -> Option<bool> {
        self.item.as_bool().or_else(|| self.wrong("true or false"))
    }

    /// A whole number within the range of the schema.
    pub(crate) fn number(&self) -> Option<u32> {
        u32::try_from(self.integer()?).ok()
    }

    /// The same, of which some are below 0.
    pub(crate) fn integer(&self) -> Option<i64> {
        let Some(value) = self.item.as_integer() else {
            return self.wrong("a whole number");
        };
        let (min, max) = match self.kind() {
            Some(Kind::Whole { least, most }) => (least, most),
            _ => (0, i64::from(u32::MAX)),
        };
        if (min..=max).contains(&value) {
            return Some(value);
        }
        self.report(Fault::Range { value, min, max });
        None
    }

    /// Whole numbers, each within the range of the schema.
    pub(crate) fn statuses(&self) -> Option<Vec<u16>> {
        let expected = "an array of whole numbers, such as [502, 503]";
        let Some(array) = self.item.as_array() else {
            return self.wrong(expected);
        };
        let (min, max) = match self.kind() {
            Some(Kind::Statuses { least, most }) => (i64::from(least), i64::from(most)),
            _ => (0, i64::from(u16::MAX)),
        };
        let mut statuses = Vec::new();
        for (index, element) in array.iter().enumerate() {
            let Some(value) = element.as_integer() else {
                self.report_element(index, Fault::Type { expected, found: kind(element) });
                continue;
            };
            match u16::try_from(value).ok().filter(|_| (min..=max).contains(&value)) {
                Some(status) => statuses.push(status),
                None => self.report_element(index, Fault::Range { value, min, max }),
            }
        }
        Some(statuses)
    }

    pub(crate) fn factor(&self) -> Option<f64> {
        let integer = || self.item.as_integer().and_then(|i| i32::try_from(i).ok()).map(f64::from);
        let share = || self.item.as_str().and_then(parse_share).map(|parts| f64::from(parts) / 1e5);
        let wrong = || self.wrong("a number, such as 2.0, or a share, such as \"50%\"");
        let factor = self.item.as_float().or_else(integer).or_else(share).or_else(wrong)?;
        if let Some(Kind::Factor { least, most }) = self.kind()
            && !(least..=most).contains(&factor)
        {
            self.report(Fault::Span { value: factor, least, most });
            return None;
        }
        Some(factor)
    }

    /// A time within the bounds of the schema.
    pub(crate) fn duration(&self) -> Option<Duration> {
        let text = self.item.as_str().or_else(|| self.wrong(TIME))?;
        let Some(time) = parse_time(text) else {
            self.form(
                text,
                "write a number with its unit: \"500ms\", \"10s\", \"5m\", \"1h\" or \"7d\"",
            );
            return None;
        };
        let Some(Kind::Time { least, most, whole }) = self.kind() else { return Some(time) };
        if least == Least::AboveZero && time.is_zero() {
            self.form(text, "use a time above 0");
        } else if whole && (time.subsec_nanos() > 0 || time > most) {
            self.report(Fault::Seconds { value: text.to_owned(), most: shown_time(most) });
        } else if time > most {
            self.report(Fault::Longer { value: text.to_owned(), most: shown_time(most) });
        } else {
            return Some(time);
        }
        None
    }

    /// A size in bytes within the bounds of the schema.
    pub(crate) fn size(&self) -> Option<u64> {
        let text = self.item.as_str().or_else(|| self.wrong(SIZE))?;
        let size = parse_size(text);
        match (size, self.kind()) {
            (Some(size), Some(Kind::Size { least, most })) if !(least..=most).contains(&size) => {
                self.report(Fault::Size { value: text.to_owned(), least, most });
                None
            }
            (Some(size), _) => Some(size),
            (None, _) => {
                self.form(text, "write a number with its unit: \"64K\", \"256M\" or \"1.5G\"");
                None
            }
        }
    }

    pub(crate) fn account(&self) -> Option<Account> {
        match (self.item.as_str(), self.item.as_integer().map(u32::try_from)) {
            (Some(name), _) if !name.is_empty() => Some(Account::Name(name.to_owned())),
            (_, Some(Ok(id))) => Some(Account::Id(id)),
            (Some(_), _) | (None, Some(Err(_)) | None) => self.wrong("a name in quotes or an id"),
        }
    }

    /// One of the words of the schema.
    pub(crate) fn choice(&self) -> Option<String> {
        let text = self.string()?;
        match self.kind() {
            Some(Kind::Choice(choices)) if !choices.contains(&text.as_str()) => {
                self.report(Fault::Choice { value: text, choices });
                None
            }
            Some(_) | None => Some(text),
        }
    }

    /// Reports what the value should look like.
    pub(crate) fn form(&self, value: &str, instead: &'static str) {
        self.report(Fault::Form { value: value.to_owned(), instead });
    }

    fn kind(&self) -> Option<Kind> {
        let key: Option<&Key> = self.section.reader.schema.find(self.section.below(self.name));
        key.map(|key| key.kind)
    }

    fn report_at(&self, span: Option<Range<usize>>, fault: Fault) {
        let key = self.section.shown(self.name);
        self.section.reader.report(span, Some(key), fault);
    }

    fn wrong<T>(&self, expected: &'static str) -> Option<T> {
        let found = self.item.as_value().map_or("a table", kind);
        self.report(Fault::Type { expected, found });
        None
    }
}

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
