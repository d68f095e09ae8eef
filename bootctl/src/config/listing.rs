//! The keys as people look them up: a list in a terminal, and the page `CONFIG.md`.

use std::fmt::Write;

use super::schema::{Key, Schema};

/// The list of one kind of file.
pub(crate) fn list(schema: Schema) -> String {
    let mut text = String::new();
    for key in shown(schema) {
        let default = match key.default {
            "" => String::new(),
            default => format!(" [{default}]"),
        };
        let _ = writeln!(text, "{} = {}", key.path, key.example);
        let _ = writeln!(text, "    {}{default}: {}", key.kind.words(), key.says);
    }
    text.truncate(text.trim_end().len());
    text
}

/// The page.
pub(crate) fn page() -> String {
    let mut text = INTRODUCTION.to_owned();
    for (title, schema) in [
        ("`bootctl.toml`: what is not about one app", Schema::Main),
        ("`apps/NAME.toml`: one app", Schema::App),
    ] {
        let _ = write!(text, "\n## {title}\n\n{HEAD}");
        for key in shown(schema) {
            let default = code(key.default);
            let words = key.kind.words();
            let example = code(key.example);
            let _ = writeln!(
                text,
                "| `{}` | {words} | {default} | {} | {example} |",
                key.path, key.says
            );
        }
    }
    text
}

const HEAD: &str = "| key | is | default | says | example |\n|---|---|---|---|---|\n";

const INTRODUCTION: &str = "\
# The config of bootctl

This page is what `bootctl config --keys --markdown` prints, and a test compares the two. A key with dots stands in
tables: `health.http` is `http` below `[health]`. A `*` stands for any name. Times are numbers with a unit (`\"500ms\"`,
`\"10s\"`, `\"5m\"`, `\"1h\"`), sizes too (`\"512K\"`, `\"256M\"`, `\"2G\"`; a unit is 1024 times the one before), percent are
written `\"50%\"`. `bootctl check` tells every mistake with its file, line and column; `bootctl config --set` refuses
one before it is written.
";

fn shown(schema: Schema) -> impl Iterator<Item = &'static Key> {
    schema.keys()
}

fn code(toml: &str) -> String {
    if toml.is_empty() { String::new() } else { format!("`{toml}`") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o25_the_page_is_what_the_schema_says() {
        let there = include_str!("../../CONFIG.md");
        assert_eq!(there, page(), "run: bootctl config --keys --markdown > bootctl/CONFIG.md");
    }

    #[test]
    fn o25_every_key_is_listed_with_a_sentence() {
        for key in shown(Schema::App).chain(shown(Schema::Main)) {
            assert!(key.says.ends_with('.') && !key.says.contains('|'), "{}", key.path);
            assert!(!key.example.is_empty(), "{}", key.path);
        }
        assert!(list(Schema::App).starts_with("exec = \"node\"\n    string: The program."));
    }
}
