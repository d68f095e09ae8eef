//! Rows: printed as tables, written as JSON.

use std::path::{Path, PathBuf};

use serde::Serialize;

/// One measured number, and how it compares.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub figure: String,
    pub subject: String,
    pub value: f64,
    pub unit: String,
    /// The subject that it is compared to.
    pub ratio_to: Option<String>,
    pub ratio: Option<f64>,
    /// What the ratio should be at most, or at least if it is a rate; for the tables alone.
    #[serde(skip)]
    pub reach: Option<Reach>,
}

#[derive(Clone, Copy, Debug)]
pub enum Reach {
    AtMost(f64),
    AtLeast(f64),
}

impl Row {
    pub fn new(figure: &str, subject: &str, value: f64, unit: &str) -> Row {
        Row {
            figure: figure.to_owned(),
            subject: subject.to_owned(),
            value,
            unit: unit.to_owned(),
            ratio_to: None,
            ratio: None,
            reach: None,
        }
    }

    /// Compared to another subject's value.
    pub fn compared(&self, subject: &str, value: f64) -> Row {
        Row { ratio_to: Some(subject.to_owned()), ratio: Some(self.value / value), ..self.clone() }
    }

    pub fn at_most(&self, ratio: f64) -> Row {
        Row { reach: Some(Reach::AtMost(ratio)), ..self.clone() }
    }

    pub fn at_least(&self, ratio: f64) -> Row {
        Row { reach: Some(Reach::AtLeast(ratio)), ..self.clone() }
    }
}

/// The middle one; 0 of none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// The workspace's `target` folder.
pub fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target")
}

pub fn print(figure: &str, rows: &[Row]) {
    println!("\n{figure}");
    for row in rows {
        let ratio = match (&row.ratio_to, row.ratio) {
            (Some(to), Some(ratio)) => format!("  {ratio:>5.2} x {to}"),
            _ => String::new(),
        };
        let reach = match row.reach {
            Some(Reach::AtMost(most)) => format!(" (reach: at most {most})"),
            Some(Reach::AtLeast(least)) => format!(" (reach: at least {least})"),
            None => String::new(),
        };
        println!("  {:<36} {:>9.2} {:<8}{ratio}{reach}", row.subject, row.value, row.unit);
    }
}

pub fn write(rows: &[Row]) {
    let path = target().join("bench.json");
    let json = serde_json::to_string_pretty(rows).expect("rows are plain");
    std::fs::write(&path, json + "\n").expect("target/ is writable");
    println!("\nwritten to {}", path.canonicalize().unwrap_or(path).display());
}
