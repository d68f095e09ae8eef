//! Descriptors that jobs have given init to keep for their next run, by `FDSTORE=1` of
//! `sd_notify(3)`.
//!
//! They stay when the job is restarted, stopped and started again, and are closed when it is cleared or
//! another spec takes its place. An open file that is kept already is not kept twice. What has become
//! of a descriptor is not watched: it is kept until somebody removes it.

use std::collections::HashMap;
use std::os::fd::RawFd;

use serde::{Deserialize, Serialize};

use crate::descriptor::Foreign;
use crate::id::JobId;
use crate::inherit::{Inherited, Lost};
use crate::occupant::SocketNumber;
use crate::spec::is_fd_name;

/// The name of a descriptor that was given without a good one.
const NAMELESS: &str = "stored";

/// What all jobs have given.
#[derive(Debug, Default)]
pub struct Store {
    /// In the order in which they came; no job that has none.
    by_job: HashMap<JobId, Vec<Stored>>,
}

#[derive(Debug)]
struct Stored {
    name: Box<str>,
    fd: Foreign,
}

/// What a datagram wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Keep what comes with it under this name.
    Keep(Box<str>),
    /// Close what is kept under this name.
    Close(Box<str>),
}

impl Order {
    /// Reads the whole of a datagram: `FDSTORE=1` or `FDSTOREREMOVE=1`, and `FDNAME=`.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let has = |line: &str| text.lines().any(|each| each == line);
        let mut names = text.lines().filter_map(|line| line.strip_prefix("FDNAME="));
        let name = names.next().filter(|name| is_fd_name(name));
        if has("FDSTOREREMOVE=1") {
            name.map(|name| Self::Close(name.into()))
        } else if has("FDSTORE=1") {
            Some(Self::Keep(name.unwrap_or(NAMELESS).into()))
        } else {
            None
        }
    }
}

/// What a job has given, as it is written down.
#[derive(Debug, Serialize, Deserialize)]
pub struct Saved {
    job: JobId,
    stored: Vec<(String, RawFd)>,
}

impl Saved {
    /// Without what is not there any more.
    pub fn leave_out(&mut self, is_there: impl Fn(RawFd) -> bool) {
        self.stored.retain(|(_, fd)| is_there(*fd));
    }

    /// The descriptors that are a part of it.
    pub fn fds(&self) -> impl Iterator<Item = RawFd> {
        self.stored.iter().map(|(_, fd)| *fd)
    }
}

impl Store {
    /// What all jobs have given, to be written down.
    #[must_use]
    pub fn save(&self) -> Vec<Saved> {
        let saved = |(job, stored): (&JobId, &Vec<Stored>)| Saved {
            job: job.clone(),
            stored: stored.iter().map(|one| (one.name.to_string(), one.fd.as_raw())).collect(),
        };
        self.by_job.iter().map(saved).collect()
    }

    /// What was written down.
    pub fn restore(saved: Vec<Saved>, inherited: &mut Inherited) -> Result<Self, Lost> {
        let mut store = Self::default();
        for Saved { job, stored } in saved {
            let stored = stored.into_iter().map(|(name, fd)| {
                Ok(Stored { name: name.into(), fd: Foreign::from(inherited.claim(fd)?) })
            });
            store.by_job.insert(job, stored.collect::<Result<_, Lost>>()?);
        }
        Ok(store)
    }

    /// Does as a job says with the descriptors that came with it. At most `most` are kept for it,
    /// and at most `spare` more than now. Answers how many of them could not be kept.
    pub fn obey(
        &mut self,
        job: &JobId,
        order: Order,
        fds: Vec<Foreign>,
        (most, spare): (usize, usize),
    ) -> usize {
        let mut stored = self.by_job.remove(job).unwrap_or_default();
        let most = most.min(stored.len().saturating_add(spare));
        let mut left_out = 0;
        match order {
            Order::Close(name) => stored.retain(|old| old.name != name),
            Order::Keep(name) => {
                for mut fd in fds {
                    if stored.iter().any(|old| old.fd.is_same_file(&fd)) {
                        continue;
                    }
                    if stored.len() < most && fd.raise().is_ok() {
                        stored.push(Stored { name: name.clone(), fd });
                    } else {
                        left_out += 1;
                    }
                }
            }
        }
        if !stored.is_empty() {
            self.by_job.insert(job.clone(), stored);
        }
        left_out
    }

    /// What is kept for a job, with its names.
    pub fn lend(&self, job: &JobId) -> impl Iterator<Item = (RawFd, &str)> {
        let stored = self.by_job.get(job).into_iter().flatten();
        stored.map(|stored| (stored.fd.as_raw(), &*stored.name))
    }

    /// The job that has stored one of these sockets.
    #[must_use]
    pub fn who_has(&self, sockets: &[SocketNumber]) -> Option<&JobId> {
        let is_it = |stored: &Stored| stored.fd.socket().is_some_and(|it| sockets.contains(&it));
        self.by_job.iter().find(|(_, all)| all.iter().any(is_it)).map(|(job, _)| job)
    }

    /// Closes all that is kept for a job.
    pub fn clear(&mut self, job: &JobId) {
        self.by_job.remove(job);
    }

    /// How many are kept for all jobs.
    #[must_use]
    pub fn count(&self) -> usize {
        self.by_job.values().map(Vec::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::OwnedFd;

    use super::*;

    fn keep(name: &str) -> Order {
        Order::Keep(name.into())
    }

    #[test]
    fn i04_orders_are_read_from_the_whole_datagram() {
        assert_eq!(Order::read("FDSTORE=1"), Some(keep("stored")));
        assert_eq!(Order::read("FDNAME=web\nFDPOLL=0\nFDSTORE=1"), Some(keep("web")));
        for bad in ["", "a:b", "a\tb", "é", &"x".repeat(256)] {
            assert_eq!(Order::read(&format!("FDSTORE=1\nFDNAME={bad}")), Some(keep("stored")));
            assert_eq!(Order::read(&format!("FDSTOREREMOVE=1\nFDNAME={bad}")), None);
        }
        let both = "FDSTORE=1\nFDSTOREREMOVE=1\nFDNAME=web";
        assert_eq!(Order::read(both), Some(Order::Close("web".into())));
        for nothing in ["", "READY=1", "FDSTORE=0", "FDSTORE=", "FDNAME=web", "XFDSTORE=1"] {
            assert_eq!(Order::read(nothing), None, "{nothing:?}");
        }
    }

    #[test]
    fn i04_a_store_is_bounded_and_holds_nothing_twice() {
        let (mut store, job) = (Store::default(), JobId::parse("a").unwrap());
        let null = || OwnedFd::from(File::open("/dev/null").unwrap());
        let names = |store: &Store| store.lend(&job).map(|(_, name)| name.to_owned()).collect();
        let one = null();
        let twice = [one.try_clone().unwrap(), one].map(Foreign::from).into();
        assert_eq!(store.obey(&job, keep("a"), twice, (3, 9)), 0);
        assert_eq!(store.count(), 1, "it is one open file");
        let more = [null(), null(), null(), null()].map(Foreign::from).into();
        assert_eq!(store.obey(&job, keep("b"), more, (3, 9)), 2);
        let now: Vec<String> = names(&store);
        assert_eq!(now, ["a", "b", "b"]);
        assert_eq!(store.obey(&job, Order::Close("b".into()), vec![null().into()], (3, 9)), 0);
        assert_eq!(store.obey(&job, keep("c"), vec![null().into()], (3, 0)), 1, "none to spare");
        assert_eq!(store.count(), 1);
        assert_eq!(store.obey(&job, Order::Close("a".into()), Vec::new(), (3, 9)), 0);
        assert!(store.by_job.is_empty());
    }
}
