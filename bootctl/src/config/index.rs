//! The rows of a schema by their paths, with their defaults read: a file asks for a hundred keys, most of which it
//! does not say, and there may be a thousand files.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use toml_edit::Item;

use super::schema::{Key, Schema};

static MAIN: LazyLock<Node> = LazyLock::new(|| Node::of(Schema::Main));
static APP: LazyLock<Node> = LazyLock::new(|| Node::of(Schema::App));

/// A table or a key, and what may stand below it.
#[derive(Debug, Default)]
pub(super) struct Node {
    row: Option<Row>,
    below: BTreeMap<&'static str, Self>,
}

/// A key, and what it is without a word.
#[derive(Debug)]
struct Row {
    key: &'static Key,
    default: Option<Item>,
}

impl Node {
    fn of(schema: Schema) -> Self {
        let mut root = Self::default();
        for key in schema.keys() {
            let names = key.path.split('.');
            let node = names.fold(&mut root, |node, name| node.below.entry(name).or_default());
            node.row = Some(Row { key, default: key.default_value().map(Item::Value) });
        }
        root
    }

    /// What a name leads to: itself before `*`, which stands for any.
    fn named(&self, name: &str) -> impl Iterator<Item = &Self> {
        self.below.get(name).into_iter().chain(self.below.get("*"))
    }

    /// The first in this order that is what is looked for.
    fn search<'p, S: AsRef<str> + ?Sized + 'p>(
        &self,
        mut path: impl Iterator<Item = &'p S> + Clone,
        is_it: fn(&Self) -> bool,
    ) -> Option<&Self> {
        match path.next() {
            None => is_it(self).then_some(self),
            Some(name) => {
                self.named(name.as_ref()).find_map(|node| node.search(path.clone(), is_it))
            }
        }
    }
}

fn root(schema: Schema) -> &'static Node {
    match schema {
        Schema::Main => &MAIN,
        Schema::App => &APP,
    }
}

fn row<'p, S: AsRef<str> + ?Sized + 'p>(
    schema: Schema,
    path: impl IntoIterator<Item = &'p S, IntoIter: Clone>,
) -> Option<&'static Row> {
    root(schema).search(path.into_iter(), |node| node.row.is_some())?.row.as_ref()
}

impl Schema {
    /// The row of a key.
    pub(crate) fn find<'p, S: AsRef<str> + ?Sized + 'p>(
        self,
        path: impl IntoIterator<Item = &'p S, IntoIter: Clone>,
    ) -> Option<&'static Key> {
        row(self, path).map(|row| row.key)
    }

    /// What a key is without a word.
    pub(crate) fn default<'p, S: AsRef<str> + ?Sized + 'p>(
        self,
        path: impl IntoIterator<Item = &'p S, IntoIter: Clone>,
    ) -> Option<&'static Item> {
        row(self, path)?.default.as_ref()
    }

    /// Whether there are keys below.
    pub(crate) fn is_table<'p, S: AsRef<str> + ?Sized + 'p>(
        self,
        path: impl IntoIterator<Item = &'p S, IntoIter: Clone>,
    ) -> bool {
        root(self).search(path.into_iter(), |node| !node.below.is_empty()).is_some()
    }
}
