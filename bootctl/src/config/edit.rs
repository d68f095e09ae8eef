//! Changes to the text of a config file that leave all else in it as it is: comments, order, blank
//! lines. Pure: text in, text out. Whether the outcome is a good config is the reader's business.

use std::ops::Range;

use toml_edit::{DocumentMut, InlineTable, Item, Table, TableLike, TomlError, Value};

use super::schema::{Kind, Schema};

/// Why a text cannot be changed so.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EditError {
    #[error("is not TOML, so it cannot be changed key by key: {0}")]
    Syntax(Box<TomlError>),
    #[error("`{0}` is no key: write names with dots between, such as health.http")]
    NoKey(String),
    #[error("`{key}` stands below `{at}`, which is no table")]
    NoTable { key: String, at: String },
    #[error("`{0}` is not set")]
    NotSet(String),
    #[error("`{key}` is {text:?}, which is not TOML: {source}")]
    Value { key: String, text: String, source: Box<TomlError> },
}

impl From<TomlError> for EditError {
    fn from(error: TomlError) -> Self {
        Self::Syntax(Box::new(error))
    }
}

/// A key as a path: `health.http`, `env."A.B"`.
pub(crate) fn path(key: &str) -> Result<Vec<String>, EditError> {
    let names = toml_edit::Key::parse(key).map_err(|_| EditError::NoKey(key.to_owned()))?;
    Ok(names.iter().map(|name| name.get().to_owned()).collect())
}

/// The text with a key set, in place if it is there.
pub(crate) fn set(text: &str, key: &str, value: Value) -> Result<String, EditError> {
    let path = path(key)?;
    let Some((name, tables)) = path.split_last() else {
        return Err(EditError::NoKey(key.to_owned()));
    };
    let mut document: DocumentMut = text.parse()?;
    let end = cut_end(&mut document);
    let before = document.to_string();
    let is_new = table_of(document.as_table_mut(), tables).is_none();
    let table = table_at(document.as_table_mut(), tables, key)?;
    match table.get_mut(name) {
        Some(Item::Value(before)) => {
            let decor = before.decor().clone();
            *before = value;
            *before.decor_mut() = decor;
        }
        Some(item) => *item = Item::Value(value),
        None => drop(table.insert(name, Item::Value(value))),
    }
    let is_behind = is_new && document.to_string().starts_with(&before);
    match table_of(document.as_table_mut(), tables) {
        // A comment at the end is about the table above it, and not about one that is new behind that.
        Some(table) if is_behind && !end.trim().is_empty() => {
            table.decor_mut().set_prefix(format!("{}\n\n", end.trim_end()));
        }
        Some(_) | None => document.set_trailing(end),
    }
    Ok(document.to_string())
}

/// Takes away what stands behind the last key.
fn cut_end(document: &mut DocumentMut) -> String {
    let end = document.trailing().as_str().unwrap_or_default().to_owned();
    document.set_trailing("");
    end
}

/// The table of that path, if there is one with lines of its own.
fn table_of<'a>(root: &'a mut Table, path: &[String]) -> Option<&'a mut Table> {
    path.iter().try_fold(root, |table, part| table.get_mut(part)?.as_table_mut())
}

/// The text without a key. Comments above it stay.
pub(crate) fn delete(text: &str, key: &str) -> Result<String, EditError> {
    let path = path(key)?;
    let not_set = || EditError::NotSet(key.to_owned());
    if let Some(lines) = own_lines(text, &path)? {
        let (before, after) = (text.get(..lines.start), text.get(lines.end..));
        return Ok([before.unwrap_or_default(), after.unwrap_or_default()].concat());
    }
    let (name, tables) = path.split_last().ok_or_else(not_set)?;
    let mut document: DocumentMut = text.parse()?;
    let mut table: &mut dyn TableLike = document.as_table_mut();
    for part in tables {
        table = table.get_mut(part).and_then(Item::as_table_like_mut).ok_or_else(not_set)?;
    }
    table.remove(name).ok_or_else(not_set)?;
    Ok(document.to_string())
}

/// What a key says, or every key below it.
pub(crate) fn get(text: &str, key: Option<&str>) -> Result<Vec<(String, Value)>, EditError> {
    let document: DocumentMut = text.parse()?;
    let path = key.map_or(Ok(Vec::new()), path)?;
    let mut item = document.as_item();
    for part in &path {
        let table = item.as_table_like();
        let Some(next) = table.and_then(|table| table.get(part)) else { return Ok(Vec::new()) };
        item = next;
    }
    let mut found = Vec::new();
    collect(item, &path, &mut found);
    Ok(found)
}

/// What somebody wrote on a command line, as the schema has it. What it is not is left as text:
/// the reader says then what it should be.
pub(crate) fn typed(schema: Schema, key: &str, text: &str) -> Result<Value, EditError> {
    let path = path(key)?;
    let toml = || {
        let value = text.parse::<Value>();
        value.map_err(|source| EditError::Value {
            key: key.to_owned(),
            text: text.into(),
            source: Box::new(source),
        })
    };
    let whole = || text.parse::<i64>().ok().map(Value::from);
    let kind = schema.find(&path).map(|key| key.kind);
    let value = match kind {
        Some(Kind::Texts | Kind::Hosts | Kind::Networks) if !text.starts_with('[') => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Some(Value::Array(parts.collect()))
        }
        Some(Kind::Statuses { .. }) if !text.starts_with('[') => format!("[{text}]").parse().ok(),
        Some(Kind::Texts | Kind::Hosts | Kind::Networks | Kind::Statuses { .. }) => Some(toml()?),
        Some(Kind::Flag) => text.parse::<bool>().ok().map(Value::from),
        Some(Kind::Whole { .. } | Kind::Account) => whole(),
        Some(Kind::Factor { .. }) => whole().or_else(|| text.parse::<f64>().ok().map(Value::from)),
        None if schema.is_table(&path) => Some(toml()?),
        Some(
            Kind::Text | Kind::Time { .. } | Kind::Size { .. } | Kind::Processors | Kind::Choice(_),
        )
        | None => None,
    };
    Ok(value.unwrap_or_else(|| Value::from(text)))
}

fn collect(item: &Item, path: &[String], found: &mut Vec<(String, Value)>) {
    match item {
        Item::Value(value) if !value.is_inline_table() => {
            let mut value = value.clone();
            value.decor_mut().clear();
            found.push((shown(path), value));
        }
        Item::None | Item::ArrayOfTables(_) => {}
        Item::Table(_) | Item::Value(_) => {
            for (name, item) in item.as_table_like().into_iter().flat_map(TableLike::iter) {
                let mut path = path.to_vec();
                path.push(name.to_owned());
                collect(item, &path, found);
            }
        }
    }
}

/// A path as it is written.
pub(crate) fn shown(path: &[String]) -> String {
    let names = path.iter().map(|name| toml_edit::Key::new(name.as_str()).display_repr().into());
    names.collect::<Vec<String>>().join(".")
}

fn table_at<'a>(
    root: &'a mut Table,
    path: &[String],
    key: &str,
) -> Result<&'a mut dyn TableLike, EditError> {
    let mut table: &mut dyn TableLike = root;
    let mut is_inline = false;
    for (depth, part) in path.iter().enumerate() {
        let missing = || {
            if is_inline {
                return Item::Value(Value::InlineTable(InlineTable::new()));
            }
            let mut table = Table::new();
            // Only one that has keys of its own needs a head.
            table.set_implicit(depth + 1 < path.len());
            Item::Table(table)
        };
        let item = table.entry(part).or_insert_with(missing);
        is_inline |= item.is_inline_table();
        let at = path.get(..=depth).map(shown).unwrap_or_default();
        table = item
            .as_table_like_mut()
            .ok_or_else(|| EditError::NoTable { key: key.to_owned(), at })?;
    }
    Ok(table)
}

/// The lines of a key that has lines of its own, which one in an inline table has not.
fn own_lines(text: &str, path: &[String]) -> Result<Option<Range<usize>>, EditError> {
    let document = toml_edit::Document::parse(text)?;
    let mut table: &dyn TableLike = document.as_table();
    let Some((name, tables)) = path.split_last() else { return Ok(None) };
    for part in tables {
        match table.get(part) {
            Some(Item::Table(next)) => table = next,
            _ => return Ok(None),
        }
    }
    let Some(item @ Item::Value(_)) = table.get(name) else { return Ok(None) };
    let key = table.key(name).and_then(toml_edit::Key::span);
    let (Some(key), Some(value)) = (key, item.span()) else { return Ok(None) };
    let start = text.get(..key.start).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
    let rest = text.get(value.end..).unwrap_or_default();
    let end = rest.find('\n').map_or(text.len(), |at| value.end + at + 1);
    Ok(Some(start..end))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
# The shop.

exec = \"node\"  # the program
# How many.
instances = 2   # two

[health]
# Asked often.
http = \"/\"
stop = { timeout = \"1s\", drain = \"2s\" }
";

    fn with(key: &str, text: &str) -> String {
        set(FILE, key, typed(Schema::App, key, text).unwrap()).unwrap()
    }

    #[test]
    fn o09_what_is_set_leaves_all_else_as_it_is() {
        assert_eq!(with("instances", "4"), FILE.replace("= 2 ", "= 4 "));
        assert_eq!(with("health.http", "/up"), FILE.replace("\"/\"", "\"/up\""));
        assert_eq!(
            with("cwd", "/srv"),
            FILE.replace("# two\n", "# two\ncwd = \"/srv\"\n"),
            "a new key of the root stands before the tables"
        );
        assert_eq!(with("health.fails", "2"), format!("{FILE}fails = 2\n"));
        assert_eq!(with("env.A", "b c"), format!("{FILE}\n[env]\nA = \"b c\"\n"));
        assert_eq!(
            with("health.stop.timeout", "9s"),
            FILE.replace("\"1s\"", "\"9s\""),
            "in an inline table, too"
        );
    }

    #[test]
    fn o09_a_comment_at_the_end_stays_where_it_is() {
        let with = |text: &str, key: &str| set(text, key, "5s".into()).unwrap();
        let new = "\n[stop]\ntimeout = \"5s\"\n";
        for text in
            ["exec = \"x\"\n\n[health]\n# http = \"/\"\n", "exec = \"x\"\n# A word.\n", "# All.\n"]
        {
            assert_eq!(with(text, "stop.timeout"), format!("{text}{new}"));
        }
        let health = "exec = \"x\"\n[health]\n# http = \"/\"\n";
        assert_eq!(
            with(health, "health.timeout"),
            health.replace("[health]\n", "[health]\ntimeout = \"5s\"\n")
        );
        assert_eq!(with(health, "cwd"), health.replace("[health]", "cwd = \"5s\"\n[health]"));
        let more = format!("[env]\na.b = \"c\"\n{health}");
        let more = with(&more.replace("exec = \"x\"\n", ""), "env.d.e");
        assert!(more.ends_with("[health]\n# http = \"/\"\n"), "{more}");
    }

    #[test]
    fn o09_what_is_deleted_leaves_the_comments_above() {
        assert_eq!(delete(FILE, "instances").unwrap(), FILE.replace("instances = 2   # two\n", ""));
        assert_eq!(
            delete(FILE, "exec").unwrap(),
            FILE.replace("exec = \"node\"  # the program\n", "")
        );
        let inline = delete(FILE, "health.stop.drain").unwrap();
        assert!(inline.contains("stop = { timeout = \"1s\""), "{inline}");
        assert!(!inline.contains("drain"), "{inline}");
        let whole = delete(FILE, "health").unwrap();
        assert!(whole.ends_with("# two\n"), "{whole}");
        assert!(matches!(delete(FILE, "cwd"), Err(EditError::NotSet(_))));
        assert!(matches!(delete(FILE, "health.http.x"), Err(EditError::NotSet(_))));
    }

    #[test]
    fn o09_values_are_of_the_type_of_their_key() {
        for (key, text, toml) in [
            ("instances", "4", "4"),
            ("instances", "four", "\"four\""),
            ("alias", "www.a, b.c", "[\"www.a\", \"b.c\"]"),
            ("alias", "[\"a\"]", "[\"a\"]"),
            ("alias", "", "[]"),
            ("args", "--port,80", "[\"--port\", \"80\"]"),
            ("exec", "5", "\"5\""),
            ("exec", "a\"b\\", "'a\"b\\'"),
            ("user", "www", "\"www\""),
            ("user", "1000", "1000"),
            ("health.tcp", "true", "true"),
            ("restart.factor", "1.5", "1.5"),
            ("restart.jitter", "10%", "\"10%\""),
            ("env.A", "true", "\"true\""),
            ("health", "{ tcp = true }", "{ tcp = true }"),
            ("nonsense", "1", "\"1\""),
        ] {
            let value = typed(Schema::App, key, text).unwrap();
            assert_eq!(value.to_string().trim(), toml, "{key} {text}");
        }
        assert!(matches!(typed(Schema::App, "alias", "[a"), Err(EditError::Value { .. })));
        assert!(matches!(typed(Schema::App, "a..b", "1"), Err(EditError::NoKey(_))));
    }

    #[test]
    fn o09_what_is_there_is_shown() {
        let found = |key| {
            let found = get(FILE, key).unwrap().into_iter();
            found.map(|(key, value)| format!("{key} = {value}")).collect::<Vec<_>>()
        };
        assert_eq!(found(Some("instances")), ["instances = 2"]);
        assert_eq!(found(Some("health")).len(), 3);
        assert_eq!(found(None).len(), 5);
        assert_eq!(found(Some("nothing")), [""; 0]);
    }

    #[test]
    fn o09_names_with_dots_are_quoted() {
        let text = set("exec = \"x\"\n", "env.\"a.b\"", "1".into()).unwrap();
        assert_eq!(text, "exec = \"x\"\n\n[env]\n\"a.b\" = \"1\"\n");
        assert_eq!(get(&text, Some("env.\"a.b\"")).unwrap()[0].0, "env.\"a.b\"");
    }
}
