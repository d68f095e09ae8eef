//! The status as people read it.

use std::fmt::Write;

use crate::admin::client::quote;
use crate::admin::wire::{
    AppView, CertificateView, InstanceState, InstanceView, RunlevelView, StatusView,
};
use crate::tls::day;

const HEAD: [&str; 9] =
    ["APP", "INSTANCE", "STATE", "PID", "PORT", "UPTIME", "CPU", "MEMORY", "RESTARTS"];

const CERTIFICATES: [&str; 5] = ["CERTIFICATE", "STATE", "HOSTS", "ISSUER", "UNTIL"];

/// Everything.
pub(crate) fn status(view: &StatusView) -> String {
    let supervisor = &view.supervisor;
    let mut text = format!(
        "bootctl {} (pid {}, up {}){}{}{}\n",
        supervisor.version,
        supervisor.pid,
        span(supervisor.uptime_ms),
        view.runlevel.as_ref().map(runlevel).unwrap_or_default(),
        if supervisor.connected { "" } else { ", init does not answer" },
        if supervisor.winding_down { ", winding down" } else { "" },
    );
    let proxy = &view.proxy;
    let pid = proxy.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
    let https = proxy.tls_listen.as_ref().map(|at| format!(", https on {at}")).unwrap_or_default();
    let _ = write!(text, "proxy on {}{https}: {}{pid}", proxy.listen, proxy.state.word());
    if let Some(why) = &proxy.why {
        let _ = write!(text, ", {why}");
    }
    text += "\n";
    if proxy.generations.len() > 1 {
        for generation in &proxy.generations {
            let pid = generation.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
            let (job, state) = (&generation.job, generation.state.word());
            let _ = writeln!(text, "  {job}: {state}{pid}, {}", generation.why);
        }
    }
    if let Some(logs) = &view.logs {
        let why = logs.why.as_ref().map(|why| format!(", {why}")).unwrap_or_default();
        let _ = writeln!(text, "logs in {}: {}{why}", logs.folder, logs.state.word());
    }
    if let Some(admin) = &view.admin {
        let why = admin.why.as_ref().map(|why| format!(", {why}")).unwrap_or_default();
        let _ = writeln!(text, "admin on {}: {}{why}", admin.listen, admin.state.word());
        if let Some(fingerprint) = &admin.fingerprint {
            let _ = writeln!(text, "  {fingerprint}");
        }
    }
    if view.apps.is_empty() {
        text += "\nno apps: write apps/NAME.toml and run `bootctl reload`";
    } else {
        text = text + "\n" + &table(&view.apps);
    }
    if !view.certificates.is_empty() {
        text = text + "\n\n" + &certificates(&view.certificates);
    }
    for problem in &view.problems {
        text = text + "\n" + problem;
    }
    text
}

/// Certificates, and what is to be done about them.
fn certificates(all: &[CertificateView]) -> String {
    let mut rows = vec![CERTIFICATES.map(str::to_owned)];
    let dash = || "-".to_owned();
    rows.extend(all.iter().map(|view| {
        let hosts = if view.hosts.is_empty() { dash() } else { view.hosts.join(", ") };
        let issuer = view.issuer.clone().unwrap_or_else(dash);
        let end = view.not_after.map_or_else(dash, day);
        [view.name.clone(), view.state.word().to_owned(), hosts, issuer, end]
    }));
    let why = all.iter().flat_map(|view| &view.why).map(|why| format!("\n{why}"));
    columns(&rows) + &why.collect::<String>()
}

fn runlevel(view: &RunlevelView) -> String {
    let next = view.next.map(|next| format!(", on the way to {next}")).unwrap_or_default();
    let doing = view.doing.as_ref().map(|doing| format!(": {doing}")).unwrap_or_default();
    let trouble = view.trouble.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
    format!(", runlevel {}{next}{doing}{trouble}", view.level)
}

/// One app.
pub(crate) fn app(view: &AppView) -> String {
    let mut text = format!("{} is {}", view.app, view.state.word());
    let _ = write!(text, ", wants {} instances, hosts {}", view.wanted, view.hosts.join(", "));
    if let Some(why) = &view.why {
        text = text + "\n" + why + &quote(&view.log);
    }
    if let Some(release) = view.release {
        let _ = write!(text, "\nit runs from release {release}");
    }
    if let Some(staged) = view.staged {
        let _ = write!(
            text,
            "\nrelease {staged} is built; `bootctl redeploy {}` switches to it",
            view.app
        );
    }
    for news in view.working.iter().chain(&view.notice) {
        text = text + "\n" + news;
    }
    text += "\n\n";
    text += &table(std::slice::from_ref(view));
    for instance in view.instances.iter().filter(|it| it.state != InstanceState::Ready) {
        let _ = write!(text, "\n\n{} is {}: {}", instance.job, instance.state.word(), instance.why);
    }
    text
}

fn table(apps: &[AppView]) -> String {
    let mut rows = vec![HEAD.map(str::to_owned)];
    for app in apps {
        if app.instances.is_empty() {
            rows.push(row(app, None));
        }
        rows.extend(app.instances.iter().map(|instance| row(app, Some(instance))));
    }
    let mut text = columns(&rows);
    for why in apps.iter().filter_map(|app| app.why.as_ref()) {
        text = text + "\n\n" + why;
    }
    text
}

/// Rows with their columns below each other.
pub(crate) fn columns(rows: &[impl AsRef<[String]>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.as_ref().get(column));
        cells.map(|cell| cell.chars().count()).max()
    };
    let count = rows.iter().map(|row| row.as_ref().len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or(0)).collect();
    let lines = rows.iter().map(|row| {
        let cells = row.as_ref().iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A number of bytes in its largest unit.
pub(crate) fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let fits = |power: &u32| bytes.checked_shr(power * 10).unwrap_or(0) < 1024;
    let Some((power, unit)) = (1..).zip(units).find(|(power, _)| fits(power)) else {
        return format!("{bytes} B");
    };
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let tenths = u128::from(bytes) * 10 / (1_u128 << (power * 10));
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

fn row(app: &AppView, instance: Option<&InstanceView>) -> [String; HEAD.len()] {
    let dash = || "-".to_owned();
    let Some(instance) = instance else {
        let state = app.state.word().to_owned();
        return [app.app.clone(), dash(), state, dash(), dash(), dash(), dash(), dash(), dash()];
    };
    [
        app.app.clone(),
        instance.instance.to_string(),
        instance.state.word().to_owned(),
        instance.pid.map_or_else(dash, |pid| pid.to_string()),
        instance.place(),
        instance.uptime_ms.map_or_else(dash, span),
        instance.cpu_ms.map_or_else(dash, cpu),
        instance.memory_bytes.map_or_else(dash, size),
        instance.restarts.to_string(),
    ]
}

/// Processor time: exact to hundredths while it is short.
fn cpu(ms: u64) -> String {
    if ms < 60_000 { format!("{}.{:02}s", ms / 1000, ms % 1000 / 10) } else { span(ms) }
}

/// A time in its two largest units.
pub(crate) fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {}m", minutes % 60),
        (_, _, _) => format!("{days}d {}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::wire::{AppState, InstanceState};

    #[test]
    fn spans_have_two_units() {
        for (ms, text) in
            [(999, "0s"), (61_000, "1m 1s"), (3_700_000, "1h 1m"), (90_000_000, "1d 1h")]
        {
            assert_eq!(span(ms), text);
        }
    }

    #[test]
    fn o21_a_certificate_has_a_line_and_what_is_wrong_with_it_another() {
        use crate::admin::wire::CertificateState;
        let good = CertificateView {
            name: "a.test".into(),
            state: CertificateState::Valid,
            hosts: vec!["a.test".into(), "www.a.test".into()],
            issuer: Some("Somebody".into()),
            not_after: Some(1_800_000_000),
            why: Vec::new(),
        };
        let (hosts, why) = (Vec::new(), vec!["the certificate of b: it is missing".into()]);
        let missing = CertificateView {
            name: "b".into(),
            state: CertificateState::Missing,
            hosts,
            issuer: None,
            not_after: None,
            why,
        };
        assert_eq!(
            certificates(&[good, missing]),
            "CERTIFICATE  STATE    HOSTS               ISSUER    UNTIL\n\
             a.test       valid    a.test, www.a.test  Somebody  2027-01-15\n\
             b            missing  -                   -         -\n\
             the certificate of b: it is missing"
        );
    }

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB")]
        {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(size(u64::MAX), "15.9 EiB");
    }

    #[test]
    fn o08_a_table_has_a_line_an_instance() {
        let instance = InstanceView {
            instance: 1,
            job: "a.1".into(),
            state: InstanceState::Ready,
            pid: Some(12),
            port: Some(9000),
            socket: None,
            uptime_ms: Some(5000),
            cpu_ms: Some(1230),
            memory_bytes: Some(5 << 20),
            restarts: 0,
            why: String::new(),
        };
        let app = |name: &str, state, instances| AppView {
            app: name.into(),
            state,
            wanted: 1,
            hosts: vec![name.into()],
            why: None,
            log: Vec::new(),
            release: None,
            staged: None,
            working: None,
            notice: None,
            requests: None,
            maintenance: false,
            instances,
        };
        let apps = [
            app("a", AppState::Running, vec![instance]),
            app("long.example", AppState::Stopped, vec![]),
        ];
        assert_eq!(
            table(&apps),
            "APP           INSTANCE  STATE    PID  PORT  UPTIME  CPU    MEMORY   RESTARTS\n\
             a             1         ready    12   9000  5s      1.23s  5.0 MiB  0\n\
             long.example  -         stopped  -    -     -       -      -        -"
        );
    }
}
