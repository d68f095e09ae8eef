//! The rows of the table: one an instance, or one for an app that has none.

use std::cmp::Reverse;

use super::figures::{Figures, Look};
use crate::admin::wire::AppView;
use crate::table::{columns, size, span};

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(super) app: String,
    /// None of an app that has no instance.
    pub(super) job: Option<String>,
    pub(super) state: &'static str,
    /// Whether it is as it is to be.
    pub(super) is_well: bool,
    pid: Option<u32>,
    /// In thousandths of a processor.
    cpu: Option<u64>,
    memory: Option<u64>,
    restarts: u32,
    uptime_ms: Option<u64>,
    /// Of the whole app, in tenths a second; only its first row tells.
    requests: Option<u64>,
}

/// By what they are in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Sort {
    #[default]
    Name,
    Cpu,
    Memory,
}

pub(super) const HEAD: [&str; 8] =
    ["INSTANCE", "STATE", "PID", "CPU", "MEMORY", "RESTARTS", "UPTIME", "REQUESTS/S"];

impl Row {
    pub(super) fn cells(&self) -> [String; HEAD.len()] {
        let dash = || "-".to_owned();
        [
            self.job.clone().unwrap_or_else(|| self.app.clone()),
            self.state.to_owned(),
            self.pid.map_or_else(dash, |pid| pid.to_string()),
            self.cpu.map_or_else(dash, |cpu| format!("{}%", tenths(cpu))),
            self.memory.map_or_else(dash, size),
            if self.job.is_some() { self.restarts.to_string() } else { dash() },
            self.uptime_ms.map_or_else(dash, span),
            self.requests.map_or_else(dash, tenths),
        ]
    }
}

fn tenths(number: u64) -> String {
    format!("{}.{}", number / 10, number % 10)
}

/// The rows of a look, with what has changed since another one.
pub(super) fn rows(look: &Look, before: &Figures) -> Vec<Row> {
    let Look { at, status } = look;
    let mut rows = Vec::new();
    for app in &status.apps {
        let requests = before.requests(*at, &app.app, app.requests);
        if app.instances.is_empty() {
            rows.push(without(app, requests));
        }
        for (place, it) in app.instances.iter().enumerate() {
            rows.push(Row {
                app: app.app.clone(),
                job: Some(it.job.clone()),
                state: it.state.word(),
                is_well: it.state == crate::admin::wire::InstanceState::Ready,
                pid: it.pid,
                cpu: before.cpu(*at, it),
                memory: it.memory_bytes,
                restarts: it.restarts,
                uptime_ms: it.uptime_ms,
                requests: requests.filter(|_| place == 0),
            });
        }
    }
    rows
}

fn without(app: &AppView, requests: Option<u64>) -> Row {
    Row {
        app: app.app.clone(),
        job: None,
        state: app.state.word(),
        is_well: app.why.is_none(),
        pid: None,
        cpu: None,
        memory: None,
        restarts: 0,
        uptime_ms: None,
        requests,
    }
}

/// The rows in order. Those that are equal stay as they are: by name.
pub(crate) fn sorted(look: &Look, before: &Figures, sort: Sort) -> Vec<Row> {
    let mut rows = rows(look, before);
    match sort {
        Sort::Name => {}
        Sort::Cpu => rows.sort_by_key(|row| Reverse(row.cpu)),
        Sort::Memory => rows.sort_by_key(|row| Reverse(row.memory)),
    }
    rows
}

/// The rows as text.
pub(crate) fn table(rows: &[Row]) -> String {
    let head = HEAD.map(str::to_owned);
    let all: Vec<_> = std::iter::once(head).chain(rows.iter().map(Row::cells)).collect();
    columns(&all)
}
