//! Follows init's jobs, and has every change judged.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use init_wire::{JobEvent, JobInfo, Status};

use super::record::Record;
use super::{COMMAND, SUPERVISOR};

/// What is seen.
#[derive(Debug, Default)]
struct Seen {
    jobs: BTreeMap<String, JobInfo>,
    told: bool,
}

/// The watch; it ends with the test.
pub struct Watch {
    seen: Arc<Mutex<Seen>>,
    stream: TcpStream,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub fn start(api: SocketAddr, record: Arc<Record>) -> Self {
        let mut stream = TcpStream::connect(api).expect("init listens");
        write!(stream, "GET /jobs?follow HTTP/1.0\r\nHost: localhost\r\n\r\n").expect("it reads");
        let lines = BufReader::new(stream.try_clone().expect("another descriptor"));
        let seen = Arc::new(Mutex::new(Seen::default()));
        let theirs = Arc::clone(&seen);
        let thread = thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok).skip_while(|line| !line.is_empty()) {
                if let Ok(event) = serde_json::from_str(&line) {
                    take(&mut theirs.lock().expect("nobody panics"), event, &record);
                }
            }
        });
        Self { seen, stream, thread: Some(thread) }
    }

    /// A job's process, while it has one.
    pub fn pid(&self, job: &str) -> Option<u32> {
        let seen = self.seen.lock().expect("nobody panics");
        let job = seen.jobs.get(job).filter(|job| job.status == Status::Running)?;
        job.pid.filter(|_| seen.told)
    }

    /// The proxy's jobs that run.
    pub fn proxies(&self) -> Vec<u32> {
        let seen = self.seen.lock().expect("nobody panics");
        let named = seen.jobs.iter().filter(|(id, _)| id.starts_with("proxyd"));
        let running = named.filter(|(_, job)| job.status == Status::Running);
        running.filter_map(|(_, job)| job.pid).collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.stream.shutdown(Shutdown::Both));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn take(seen: &mut Seen, event: JobEvent, record: &Record) {
    match event {
        JobEvent::Ready { .. } => seen.told = true,
        JobEvent::Missed { count, .. } => {
            record.violation(format!("the watch has missed {count:?} events"));
        }
        JobEvent::Gone { id, .. } => {
            record.note(&format!("init: {id} is gone"));
            seen.jobs.remove(&id);
        }
        JobEvent::Job { job, .. } => {
            let pid = job.pid.map_or(String::new(), |pid| format!(" (pid {pid})"));
            record.note(&format!("init: {}{pid} is {:?}: {}", job.id, job.status, job.why));
            let app = job.spec.envs.get("BOOTCTL_APP").cloned();
            seen.jobs.insert(job.id.clone(), *job);
            if let Some(app) = app {
                return judge(seen, &app, record);
            }
            let known =
                |id: &str| [SUPERVISOR, "collector"].contains(&id) || id.starts_with("proxyd");
            let of_app = |job: &JobInfo| job.spec.envs.contains_key("BOOTCTL_APP");
            let stranger = seen.jobs.values().find(|job| !known(&job.id) && !of_app(job));
            if let Some(stranger) = stranger {
                record.violation(format!("{} is nobody's job", stranger.id));
            }
        }
    }
}

fn judge(seen: &Seen, app: &str, record: &Record) {
    let its = seen.jobs.values().filter(|job| {
        // A command is none of its instances.
        let is_command = job.spec.envs.contains_key(COMMAND);
        let live = !is_command
            && matches!(job.status, Status::Starting | Status::Running | Status::Backoff);
        live && job.spec.envs.get("BOOTCTL_APP").is_some_and(|its| its == app)
    });
    let live = its.count();
    if let Some(wrong) = record.model().judge_count(app, live) {
        record.violation(wrong);
    }
}
