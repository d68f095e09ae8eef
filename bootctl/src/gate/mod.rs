//! The gate: the admin API over the network, as a job of init of its own.
//!
//! Its listener is init's, so that neither a restart of the supervisor nor one of the gate refuses anybody: whoever
//! comes meanwhile waits. It speaks TLS, asks for a token, and passes on what is allowed to the supervisor's control
//! socket; what strangers send never comes to the process that everything hangs on. All that it is told is in its
//! arguments, so one that is to do otherwise is another spec, which is replaced.

pub(crate) mod certificate;
mod crowd;
pub(crate) mod door;
mod errands;
mod keeping;
mod logs;
mod pass;
mod plain;
mod row;

pub(crate) use keeping::Gate;
pub(crate) use pass::{FROM, WHO};
#[cfg(test)]
pub(crate) use row::routes;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use init_wire::{FdSpec, JobSpec, Policy, Ready, Restart, Status};

use crate::admin::wire::{AdminState, AdminView};

use crate::collecting::Place;
use crate::job::JobInfo;
use crate::standing::Standing;

/// Its name.
pub(crate) const JOB: &str = "gate";
/// What tells ours from somebody else's job of that name.
const ENV_MARK: &str = "BOOTCTL_GATE";
/// Where init's tokens are, for those whom init wants to show one.
const TOKEN_FILE: &str = "INIT_TOKEN_FILE";
/// What it answers, as a word for programs, while no supervisor answers itself.
pub(crate) const NO_SUPERVISOR: &str = "no_supervisor";
/// After so many restarts by init without being open, it counts as failed. It is tried further all the same.
const PATIENCE: u32 = 3;
/// The name of its listener.
pub(crate) const LISTENER: &str = "admin";

/// `[admin]` of bootctl.toml.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Admin {
    /// Where other machines reach it; without, none does.
    pub(crate) listen: Option<SocketAddr>,
    /// The files of a certificate and its key, instead of one of its own.
    pub(crate) certificate: Option<(String, String)>,
}

/// Whether a job of its name is ours.
pub(crate) fn is_ours(spec: &JobSpec) -> bool {
    spec.envs.contains_key(ENV_MARK)
}

/// The gate that the config asks for.
pub(crate) fn wanted(
    place: &Place,
    admin: &Admin,
    (run, state, logs): (&Path, &Path, &Path),
) -> Option<JobSpec> {
    let listen = admin.listen?;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut args = vec!["gate".to_owned(), "--run-dir".into(), text(run)];
    args.extend(["--log-dir".to_owned(), text(logs)]);
    args.extend(["--state-dir".to_owned(), text(state), "--init".into(), place.init.to_string()]);
    if let Some((certificate, key)) = &admin.certificate {
        args.extend(["--certificate".to_owned(), certificate.clone(), "--key".into(), key.clone()]);
    }
    let mut envs = BTreeMap::from([(ENV_MARK.to_owned(), place.build.clone())]);
    envs.extend(std::env::var(TOKEN_FILE).ok().map(|path| (TOKEN_FILE.to_owned(), path)));
    Some(JobSpec {
        args,
        envs,
        fds: vec![FdSpec::new(LISTENER, format!("tcp:{listen}"))],
        ready: Ready::Notify,
        restart: Restart {
            policy: Policy::Always,
            delay_ms: 10,
            max_delay_ms: 5000,
            reset_after_ms: 2000,
            ..Restart::default()
        },
        ..JobSpec::new(&place.exec)
    })
}

/// What is to be done next.
#[derive(Debug, PartialEq)]
enum Step {
    Start(Box<JobSpec>),
    /// It is told otherwise from now on, or has ended.
    Stop,
}

fn next(wanted: Option<JobSpec>, job: Option<&JobInfo>) -> Option<Step> {
    match (wanted, job) {
        (Some(spec), None) => Some(Step::Start(Box::new(spec))),
        (_, Some(job)) if !is_ours(&job.spec) => None,
        (Some(spec), Some(job)) => match job.status {
            Status::Success | Status::Failed => Some(Step::Stop),
            Status::Stopping => None,
            Status::Starting | Status::Running | Status::Backoff => {
                (*job.spec != spec).then_some(Step::Stop)
            }
        },
        (None, Some(job)) => (job.status != Status::Stopping).then_some(Step::Stop),
        (None, None) => None,
    }
}

/// How near it is to what the config says.
fn standing(
    admin: &Admin,
    wanted: Option<&JobSpec>,
    job: Option<&JobInfo>,
    trouble: Option<&str>,
) -> Standing {
    let (Some(wanted), Some(view)) = (wanted, view(admin, job, trouble)) else {
        // One that is still there keeps nobody waiting.
        return Standing::Reached;
    };
    let fails = match job {
        None => trouble.is_some(),
        Some(job) if !is_ours(&job.spec) => true,
        Some(job) if *job.spec != *wanted => false,
        Some(_) if view.state == AdminState::Open => return Standing::Reached,
        Some(job) => {
            matches!(job.status, Status::Success | Status::Failed) || job.respawn >= PATIENCE
        }
    };
    let why = view.why.unwrap_or_else(|| "it is not open yet".into());
    let sentence = format!("the admin API at {}: {why}", view.listen);
    if fails { Standing::Failed(sentence) } else { Standing::Working(sentence) }
}

/// The gate as it is shown. `trouble` is what init said to the last change of the job; what the gate says of
/// itself is its fingerprint.
fn view(admin: &Admin, job: Option<&JobInfo>, trouble: Option<&str>) -> Option<AdminView> {
    let listen = admin.listen?.to_string();
    let shown = |state, fingerprint: Option<&String>, why: Option<&str>| AdminView {
        state,
        listen: listen.clone(),
        fingerprint: fingerprint.cloned(),
        why: why.map(str::to_owned),
    };
    Some(match job {
        None => shown(AdminState::Down, None, trouble.or(Some("it is yet to be started"))),
        Some(job) if !is_ours(&job.spec) => {
            let why = "a job `gate` that bootctl did not start is in the way; stop and clear it";
            shown(AdminState::Down, None, Some(why))
        }
        Some(job) => match (job.status, &job.status_text) {
            (Status::Running, Some(text)) if !text.is_empty() => {
                shown(AdminState::Open, Some(text), None)
            }
            (Status::Running | Status::Starting, _) => shown(AdminState::Starting, None, trouble),
            (Status::Stopping | Status::Backoff | Status::Success | Status::Failed, _) => {
                shown(AdminState::Down, None, trouble.or(Some(&job.why)))
            }
        },
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn place() -> Place {
        let (exec, build) = ("bootctl".into(), "1".into());
        Place { exec, build, init: ([127, 0, 0, 1], 1).into(), folder: None }
    }

    fn folders() -> (&'static Path, &'static Path, &'static Path) {
        (Path::new("/run"), Path::new("/state"), Path::new("/logs"))
    }

    fn spec() -> JobSpec {
        let files = Some(("/c.pem".to_owned(), "/k.pem".to_owned()));
        let admin = Admin { listen: Some(([0, 0, 0, 0], 8443).into()), certificate: files };
        wanted(&place(), &admin, folders()).expect("it is to listen")
    }

    fn job(spec: JobSpec, status: Status) -> JobInfo {
        JobInfo {
            id: JOB.into(),
            status,
            pid: Some(7),
            last_exit: None,
            respawn: 0,
            why: "it runs".into(),
            started_at: None,
            ended_at: None,
            next_start: None,
            status_text: None,
            spec: spec.into(),
        }
    }

    #[test]
    fn z09_what_it_is_told_is_what_it_understands() {
        let spec = spec();
        assert!(is_ours(&spec) && !is_ours(&JobSpec::new("bootctl")));
        assert_eq!(spec.fds, [FdSpec::new("admin", "tcp:0.0.0.0:8443")]);
        let words = std::iter::once(spec.exec).chain(spec.args);
        let cli = crate::cli::Cli::try_parse_from(words).expect("good words");
        let crate::command::Command::Gate(gate) = cli.command else { panic!("it is the gate") };
        assert_eq!(gate.state_dir, Path::new("/state"));
        assert_eq!(gate.certificate.as_deref(), Some(Path::new("/c.pem")));
        assert_eq!(wanted(&place(), &Admin::default(), folders()), None);
    }

    #[test]
    fn z09_it_is_there_when_it_is_open_as_the_config_says() {
        use Status::{Backoff, Failed, Running, Starting};
        let admin = Admin { listen: Some(([0, 0, 0, 0], 8443).into()), certificate: None };
        let spec = wanted(&place(), &admin, folders()).expect("it is to listen");
        let stands =
            |job: Option<JobInfo>, trouble| standing(&admin, Some(&spec), job.as_ref(), trouble);
        let failed = |why: &str| Standing::Failed(format!("the admin API at 0.0.0.0:8443: {why}"));
        let is_working = |standing| matches!(standing, Standing::Working(_));
        let open = JobInfo { status_text: Some("ab:cd".into()), ..job(spec.clone(), Running) };
        assert_eq!(stands(Some(open.clone()), None), Standing::Reached);
        assert!(is_working(stands(None, None)), "it is yet to be started");
        assert_eq!(stands(None, Some("in use")), failed("in use"));
        assert!(is_working(stands(Some(job(spec.clone(), Starting)), None)));
        let other = JobSpec { args: Vec::new(), ..spec.clone() };
        assert!(is_working(stands(Some(JobInfo { spec: other.into(), ..open }), None)));
        for (status, respawn, fails) in [(Backoff, 2, false), (Backoff, 3, true), (Failed, 0, true)]
        {
            let job = JobInfo { respawn, why: "it dies".into(), ..job(spec.clone(), status) };
            let standing = stands(Some(job), None);
            assert_eq!(standing == failed("it dies"), fails, "{status:?} {standing:?}");
        }
        let foreign = stands(Some(job(JobSpec::new("gate"), Running)), None);
        assert!(matches!(foreign, Standing::Failed(_)), "{foreign:?}");
        let off = standing(&Admin::default(), None, Some(&job(spec.clone(), Running)), None);
        assert_eq!(off, Standing::Reached);
    }

    #[test]
    fn z09_there_is_one_as_it_is_wanted() {
        use Status::{Backoff, Failed, Running, Starting, Stopping, Success};
        let all = [Starting, Running, Stopping, Backoff, Success, Failed];
        assert_eq!(next(Some(spec()), None), Some(Step::Start(Box::new(spec()))));
        assert_eq!(next(None, None), None);
        for status in all {
            let other = JobSpec { args: Vec::new(), ..spec() };
            let foreign = job(JobSpec::new("gate"), status);
            for wanted in [None, Some(spec())] {
                assert_eq!(next(wanted, Some(&foreign)), None, "{status:?}");
            }
            let (ended, stopping) = (matches!(status, Success | Failed), status == Stopping);
            let stop = |wanted: bool| wanted.then_some(Step::Stop);
            assert_eq!(next(Some(spec()), Some(&job(spec(), status))), stop(ended), "{status:?}");
            assert_eq!(
                next(Some(spec()), Some(&job(other, status))),
                stop(!stopping),
                "{status:?}"
            );
            assert_eq!(next(None, Some(&job(spec(), status))), stop(!stopping), "{status:?}");
        }
    }
}
