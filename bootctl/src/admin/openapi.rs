//! The admin API as a document of the `OpenAPI` kind, `bootctl/openapi.json`: made of the tables, and of the shapes that are sent.
//!
//! `BOOTCTL_WRITE_OPENAPI=1 cargo test -p bootctl openapi` writes it anew.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::route::{Gives, Key, Kind, Route, Takes};
use super::steps::{JSON_LINES, Line};
use super::{TABLES, custom, releases, settings, tokens, wire};
use crate::errand::{Adoption, Errand};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
const JSON: &str = "application/json";

/// Statuses that any request may be answered with, whatever it is about.
const ANY: [(u16, &str); 9] = [
    (401, "no good token is shown; only from afar"),
    (403, "the token, or the user, may not"),
    (405, "the path is there, but not with this method"),
    (422, "the path, the query or the body makes no sense"),
    (429, "too many wrong tokens came from this address; only from afar"),
    (500, "what is kept cannot be read or written"),
    (502, "the answer broke off; only from afar"),
    (503, "nobody answers just now; ask again"),
    (504, "the time was over before the end; it goes on"),
];

/// The document, while it is made.
struct Document {
    shapes: SchemaGenerator,
    /// Shapes as they are read, which may leave out what is written: each stands where it is used.
    wishes: SchemaGenerator,
    paths: BTreeMap<String, Map<String, Value>>,
}

impl Document {
    fn new() -> Self {
        let shapes = SchemaSettings::draft2020_12().for_serialize().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        let wishes = SchemaSettings::draft2020_12().with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        });
        let (shapes, wishes) = (shapes.into_generator(), wishes.into_generator());
        Self { shapes, wishes, paths: BTreeMap::new() }
    }

    fn shape<T: JsonSchema>(&mut self) -> Value {
        self.shapes.subschema_for::<T>().into()
    }

    fn json<T: JsonSchema>(&mut self) -> Value {
        json!({JSON: {"schema": self.shape::<T>()}})
    }

    fn wish<T: JsonSchema>(&mut self) -> Value {
        let shape: Value = self.wishes.subschema_for::<T>().into();
        json!({JSON: {"schema": shape}})
    }

    fn add(&mut self, route: &Route) {
        let (method, path) = route.call.split_once(' ').expect("method and path");
        let named = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let named = named.map(|name| {
            let (schema, example) = part(name);
            json!({"name": name, "in": "path", "required": true, "schema": schema, "example": example})
        });
        let asked = route.query.iter().map(|key| {
            let Key { name, means, .. } = key;
            json!({"name": name, "in": "query", "description": means, "schema": value(key.kind)})
        });
        let parameters: Vec<Value> = named.chain(asked).collect();
        let mut operation = json!({
            "operationId": identifier(method, path),
            "summary": route.does,
            "parameters": parameters,
            "responses": self.answers(route),
        });
        if let Some(content) = self.taken(route.takes) {
            let body = json!({"required": route.takes != Takes::Args, "content": content});
            operation["requestBody"] = body;
        }
        let known = self.paths.entry(path.to_owned()).or_default();
        assert!(
            known.insert(method.to_lowercase(), operation).is_none(),
            "{} is told twice",
            route.call
        );
    }

    fn taken(&mut self, takes: Takes) -> Option<Value> {
        match takes {
            Takes::Nothing => None,
            Takes::Bytes => Some(json!({"application/octet-stream": {"schema": {}}})),
            Takes::Args => Some(self.wish::<custom::CustomArgs>()),
            Takes::Value => Some(self.wish::<settings::Setting>()),
            Takes::Adoption => Some(self.wish::<Adoption>()),
            Takes::Errand => Some(self.wish::<Errand>()),
        }
    }

    fn answers(&mut self, route: &Route) -> Map<String, Value> {
        let refusal = self.json::<wire::Refusal>();
        let refused = |why: &str| json!({"description": why, "content": refusal});
        // init says of its own refusals what else they are about.
        let by_init = json!({JSON: {"schema": {
            "type": "object",
            "properties": {"error": {"type": "string"}, "message": {"type": "string"}},
            "required": ["error", "message"],
        }}});
        let is_inits = route.call.contains(" /init/");
        let mut all = Map::new();
        for (status, _) in ANY {
            let name = format!("#/components/responses/{status}");
            all.insert(status.to_string(), json!({"$ref": name}));
        }
        for status in route.refuses {
            let why = match status {
                400 => "init does not understand it",
                404 => "there is no such thing",
                409 => "it has failed, or something is in the way; the message says what",
                416 => "that is not kept any more",
                _ => continue,
            };
            let mut answer = refused(why);
            if is_inits {
                answer["content"] = by_init.clone();
            }
            all.insert(status.to_string(), answer);
        }
        let (status, content) = self.given(route.gives);
        let mut answer = json!({"description": "done"});
        if let Some(mut content) = content {
            if route.query.contains(&super::route::TIMEOUT) {
                // Whoever asks for it so is told the steps.
                content[JSON_LINES] = json!({"schema": {}});
                let _: Value = self.shape::<Line>();
            }
            answer["content"] = content;
        }
        all.insert(status.to_string(), answer);
        all
    }

    fn given(&mut self, gives: Gives) -> (u16, Option<Value>) {
        let of_init = || json!({JSON: {"schema": {"description": "as api.md says"}}});
        let content = match gives {
            Gives::Status => self.json::<wire::StatusView>(),
            Gives::App => self.json::<wire::AppView>(),
            Gives::Plan => self.json::<wire::PlanView>(),
            Gives::Releases => self.json::<releases::ReleasesView>(),
            Gives::Tokens => self.json::<tokens::TokensView>(),
            Gives::Token => self.json::<tokens::TokenView>(),
            Gives::NewToken => return (201, Some(self.json::<tokens::TokenView>())),
            Gives::Settings => self.json::<settings::SettingsView>(),
            Gives::Text => json!({"text/plain": {"schema": {"type": "string"}}}),
            Gives::Custom => {
                let _: Value = self.shape::<custom::CustomLine>();
                json!({JSON_LINES: {"schema": {}}})
            }
            Gives::OfInit => of_init(),
            Gives::Jobs => json!({JSON: {"schema": {}}, JSON_LINES: {"schema": {}}}),
            Gives::Stream => json!({"text/plain": {"schema": {}}, JSON_LINES: {"schema": {}}}),
            Gives::Nothing => return (204, None),
            Gives::Document => json!({JSON: {"schema": {"type": "object"}}}),
        };
        (200, Some(content))
    }

    fn end(mut self) -> Value {
        let refusal = self.json::<wire::Refusal>();
        let any = ANY.map(|(status, why)| {
            (status.to_string(), json!({"description": why, "content": refusal}))
        });
        json!({
            "openapi": "3.1.0",
            "info": {
                "title": "bootctl: the admin API",
                "version": env!("CARGO_PKG_VERSION"),
                "description": "On the control socket for root and bootctl's own user, and over TLS for whoever shows a \
                                token. What is below /init and /logs is only answered over TLS.",
                "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
            },
            "servers": [{"url": "https://localhost:8443"}],
            "security": [{"token": []}],
            "paths": self.paths,
            "components": {
                "responses": any.into_iter().collect::<Map<String, Value>>(),
                "schemas": self.shapes.take_definitions(true),
                "securitySchemes": {
                    "token": {"type": "http", "scheme": "bearer", "description": "what `bootctl generate` has shown"}
                },
            },
        })
    }
}

/// What a part of a path may be, and an example.
fn part(name: &str) -> (Value, Value) {
    match name {
        "app" => (json!({"type": "string", "minLength": 1}), json!("shop.example")),
        "count" => (json!({"type": "integer", "minimum": 0, "maximum": 1000}), json!(2)),
        "level" => (json!({"type": "integer", "minimum": 0, "maximum": 4}), json!(3)),
        "id" => (
            json!({"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"}),
            json!("shop.example.1"),
        ),
        "signal" => (json!({"type": "string", "pattern": "^[A-Za-z0-9]{1,16}$"}), json!("HUP")),
        "name" => (json!({"type": "string", "minLength": 1}), json!("laptop")),
        other => panic!("{other} is not known"),
    }
}

fn value(kind: Kind) -> Value {
    match kind {
        Kind::Number(least, most) => json!({"type": "integer", "minimum": least, "maximum": most}),
        Kind::Word(words) => json!({"type": "string", "enum": words}),
        Kind::Text => json!({"type": "string"}),
        Kind::Flag => json!({"type": "string", "maxLength": 0}),
    }
}

/// `PUT /apps/{app}/start` is `putAppsAppStart`.
fn identifier(method: &str, path: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.fold(method.to_lowercase(), |text, word| {
        let (first, rest) = word.split_at(1);
        text + &first.to_uppercase() + rest
    })
}

fn document() -> String {
    let mut document = Document::new();
    for route in TABLES.into_iter().flatten().chain(&crate::gate::routes()) {
        document.add(route);
    }
    serde_json::to_string_pretty(&document.end()).expect("JSON") + "\n"
}

/// The committed document is the one that the tables make.
#[test]
fn openapi_document_is_the_tables() {
    let now = document();
    if std::env::var_os("BOOTCTL_WRITE_OPENAPI").is_some() {
        std::fs::write(FILE, &now).expect("written");
    }
    let committed = std::fs::read_to_string(FILE).expect("it is committed");
    assert!(
        committed == now,
        "bootctl/openapi.json is not what the tables say; BOOTCTL_WRITE_OPENAPI=1 cargo test -p bootctl \
         openapi writes it anew"
    );
    let document: Value = serde_json::from_str(&committed).expect("JSON");
    for route in TABLES.into_iter().flatten().chain(&crate::gate::routes()) {
        let (method, path) = route.call.split_once(' ').expect("method and path");
        assert!(document["paths"][path][method.to_lowercase()].is_object(), "{}", route.call);
    }
}
