//! How it looks: a line about the machine, the table or the details of a row, a line about what may be typed.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Paragraph, Row as Cells, Table, TableState, Wrap};

use super::rows::{HEAD, Row, Sort};
use super::state::{Mode, Top};
use crate::admin::wire::{InstanceState, StatusView};

const KEYS: &str = "q quit  ↑↓ choose  ⏎ details  r restart  sort by: c cpu  m memory  n name";
const BACK: &str = "q quit  esc back  r restart";
/// What a column takes but the first, which has the rest.
const WIDTHS: [u16; HEAD.len() - 1] = [10, 8, 8, 10, 8, 8, 10];
/// The least that names get.
const NAMES: u16 = 16;

/// Draws all of it.
pub(crate) fn draw(top: &Top, frame: &mut Frame<'_>) {
    let lines = [Constraint::Length(2), Constraint::Min(1), Constraint::Length(1)];
    let [head, middle, foot] = Layout::vertical(lines).areas(frame.area());
    frame.render_widget(Paragraph::new(heading(top)), head);
    match &top.mode {
        Mode::Table => table(top, frame, middle),
        Mode::Details { lines } => details(top, lines, frame, middle),
    }
    frame.render_widget(Paragraph::new(footing(top)), foot);
}

fn heading(top: &Top) -> Vec<Line<'static>> {
    let first = match &top.status {
        Some(status) => Line::from(machine(status)),
        None => Line::from("looking …"),
    };
    let trouble = top.trouble.as_ref().map(|why| format!("this is old: {why}"));
    let problems = top.status.as_ref().and_then(|status| status.problems.first().cloned());
    let warning = trouble.or(problems).unwrap_or_default();
    vec![first, Line::styled(warning, Style::new().fg(Color::Red))]
}

fn machine(status: &StatusView) -> String {
    let instances = || status.apps.iter().flat_map(|app| &app.instances);
    let ready = instances().filter(|it| it.state == InstanceState::Ready).count();
    let level = status.runlevel.as_ref();
    let level = level.map(|it| format!(", runlevel {}", it.level)).unwrap_or_default();
    format!(
        "bootctl {}{level}, proxy {}, {} apps, {ready} of {} instances ready",
        status.supervisor.version,
        status.proxy.state.word(),
        status.apps.len(),
        instances().count(),
    )
}

fn footing(top: &Top) -> Line<'static> {
    let strong = Style::new().add_modifier(Modifier::BOLD);
    match (&top.question, &top.said, &top.mode) {
        (Some(app), _, _) => Line::styled(format!("restart {app}? y/n"), strong),
        (None, Some(said), _) => Line::styled(said.clone(), strong),
        (None, None, Mode::Table) => Line::from(KEYS),
        (None, None, Mode::Details { .. }) => Line::from(BACK),
    }
}

fn table(top: &Top, frame: &mut Frame<'_>, area: Rect) {
    let sorted = match top.sort {
        Sort::Name => 0,
        Sort::Cpu => 3,
        Sort::Memory => 4,
    };
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let head = HEAD.iter().enumerate().map(|(column, word)| {
        let style = if column == sorted { bold.add_modifier(Modifier::UNDERLINED) } else { bold };
        Cell::from(*word).style(style)
    });
    let widths = std::iter::once(Constraint::Min(NAMES));
    let widths = widths.chain(WIDTHS.iter().map(|width| Constraint::Length(*width)));
    let table = Table::new(top.rows.iter().map(cells), widths)
        .header(Cells::new(head))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::new().with_selected(top.selected());
    frame.render_stateful_widget(table, area, &mut state);
}

fn cells(row: &Row) -> Cells<'static> {
    let style = if row.is_well { Style::new() } else { Style::new().fg(Color::Yellow) };
    Cells::new(row.cells()).style(style)
}

fn details(top: &Top, lines: &[String], frame: &mut Frame<'_>, area: Rect) {
    let mut about = Vec::new();
    if let Some(app) = top.chosen_app() {
        about.push(format!("{} is {}, wants {} instances", app.app, app.state.word(), app.wanted));
        if !app.hosts.is_empty() {
            about.push(format!("hosts: {}", app.hosts.join(", ")));
        }
        about.extend(app.release.map(|release| format!("it runs from release {release}")));
        about.extend(app.why.iter().chain(&app.notice).chain(&app.working).cloned());
        let chosen = top.selected().and_then(|index| top.rows.get(index)?.job.clone());
        let one = app.instances.iter().find(|it| Some(&it.job) == chosen.as_ref());
        about.extend(one.map(|it| format!("{} is {}: {}", it.job, it.state.word(), it.why)));
        about.extend(one.map(|it| format!("{} has written last:", it.job)));
    }
    let height = u16::try_from(about.len()).unwrap_or(u16::MAX).min(area.height);
    let parts = Layout::vertical([Constraint::Length(height), Constraint::Min(0)]);
    let [above, below] = parts.areas(area);
    let about: Vec<Line<'_>> = about.into_iter().map(Line::from).collect();
    frame.render_widget(Paragraph::new(about).wrap(Wrap { trim: false }), above);
    // The newest lines are those that are shown.
    let room = usize::from(below.height);
    let newest = lines.iter().skip(lines.len().saturating_sub(room));
    let newest: Vec<Line<'_>> = newest.map(|line| Line::from(line.as_str())).collect();
    frame.render_widget(Paragraph::new(newest), below);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::top::{Effect, Key, Look, Seen};

    /// A look at two apps, `shop` with two instances and `mail` with none, after so many seconds.
    fn look(seconds: u64, cpu: [u64; 2], requests: u64) -> Seen {
        let instance = |number: u32, cpu_ms: u64| {
            serde_json::json!({
                "instance": number, "job": format!("shop.{number}"), "state": "ready", "pid": 40 + number,
                "port": 9000, "uptimeMs": seconds * 1000, "cpuMs": cpu_ms, "memoryBytes": 1024 * 1024 * (3 - number),
                "restarts": number, "why": "started",
            })
        };
        let status = serde_json::json!({
            "supervisor": {"version": "1.0", "pid": 1, "uptimeMs": 0, "connected": true, "windingDown": false},
            "proxy": {"state": "ready", "pid": 2, "listen": "0.0.0.0:80", "why": null},
            "apps": [
                {"app": "mail", "state": "stopped", "wanted": 1, "hosts": [], "why": null, "instances": []},
                {"app": "shop", "state": "running", "wanted": 2, "hosts": ["shop"], "why": null, "requests": requests,
                 "instances": [instance(1, cpu[0]), instance(2, cpu[1])]},
            ],
            "problems": [],
        });
        let status = serde_json::from_value(status).expect("a status");
        Seen::Look(Box::new(Look { at: Duration::from_secs(seconds), status }))
    }

    fn shown(top: &Top, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a screen");
        terminal.draw(|frame| draw(top, frame)).expect("drawn");
        let buffer = terminal.backend().buffer();
        let row = |y| {
            let cells = (0..width).filter_map(move |x| buffer.cell((x, y)));
            cells.map(|cell| cell.symbol().to_owned()).collect::<String>().trim_end().to_owned()
        };
        (0..height).map(row).collect()
    }

    fn watching() -> Top {
        let mut top = Top::new(Sort::Name);
        assert_eq!(top.step(look(1, [100, 100], 10)), None);
        assert_eq!(top.step(look(3, [200, 1100], 30)), None);
        top
    }

    fn press(top: &mut Top, keys: &[Key]) -> Option<Effect> {
        keys.iter().map(|key| top.step(Seen::Key(*key))).last().flatten()
    }

    #[test]
    fn top_shows_rows_with_rates() {
        let lines = shown(&watching(), 90, 8);
        assert_eq!(
            lines,
            [
                "bootctl 1.0, proxy ready, 2 apps, 2 of 2 instances ready",
                "",
                "INSTANCE              STATE      PID      CPU      MEMORY     RESTARTS UPTIME   REQUESTS/S",
                "mail                  stopped    -        -        -          -        -        -",
                "shop.1                ready      41       5.0%     2.0 MiB    1        3s       10.0",
                "shop.2                ready      42       50.0%    1.0 MiB    2        3s       -",
                "",
                KEYS,
            ]
        );
    }

    #[test]
    fn top_sorts_and_keeps_what_is_chosen() {
        let mut top = watching();
        let first = |top: &Top| shown(top, 90, 8)[3].split_whitespace().next().map(str::to_owned);
        press(&mut top, &[Key::Down, Key::Letter('c')]);
        assert_eq!(first(&top).as_deref(), Some("shop.2"));
        assert_eq!(top.selected(), Some(1), "shop.1 is still chosen");
        press(&mut top, &[Key::Letter('m')]);
        assert_eq!((first(&top).as_deref(), top.selected()), (Some("shop.1"), Some(0)));
        press(&mut top, &[Key::Letter('n'), Key::Last]);
        assert_eq!(top.selected(), Some(2));
        press(&mut top, &[Key::Down, Key::PageDown, Key::First, Key::Up]);
        assert_eq!(top.selected(), Some(0));
    }

    #[test]
    fn top_restarts_only_after_a_yes() {
        let mut top = watching();
        press(&mut top, &[Key::Last, Key::Letter('r')]);
        assert_eq!(shown(&top, 90, 8)[7], "restart shop? y/n");
        assert_eq!(press(&mut top, &[Key::Enter]), None);
        assert_eq!(shown(&top, 90, 8)[7], KEYS);
        let asked = press(&mut top, &[Key::Letter('r'), Key::Letter('y')]);
        assert_eq!(asked, Some(Effect::Restart("shop".into())));
        top.step(Seen::Done("shop was restarted".into()));
        assert_eq!(shown(&top, 90, 8)[7], "shop was restarted");
        assert_eq!(press(&mut top, &[Key::Letter('q')]), Some(Effect::Leave));
    }

    #[test]
    fn top_shows_what_one_has_written() {
        let mut top = watching();
        let read = Some(Effect::Read("shop.2".into()));
        assert_eq!(press(&mut top, &[Key::Last, Key::Enter]), read);
        top.step(Seen::Lines("shop.1".into(), vec!["of another".into()]));
        let lines = (0..20).map(|number| format!("line {number}")).collect();
        top.step(Seen::Lines("shop.2".into(), lines));
        let screen = shown(&top, 60, 10);
        assert_eq!(
            screen[2..],
            [
                "shop is running, wants 2 instances",
                "hosts: shop",
                "shop.2 is ready: started",
                "shop.2 has written last:",
                "line 17",
                "line 18",
                "line 19",
                BACK
            ]
        );
        assert_eq!(top.step(look(5, [0, 0], 0)), read, "it is read again with each look");
        press(&mut top, &[Key::Escape]);
        assert!(shown(&top, 90, 8)[2].starts_with("INSTANCE"));
    }

    #[test]
    fn top_fits_whatever_room_there_is() {
        let mut top = watching();
        for mode in [None, Some(Key::Enter)] {
            mode.map(|key| press(&mut top, &[key]));
            for (width, height) in [(1, 1), (10, 3), (20, 2), (300, 100), (80, 4)] {
                assert_eq!(shown(&top, width, height).len(), usize::from(height));
            }
        }
    }

    #[test]
    fn top_says_when_nobody_answers_and_forgets_rows_that_are_gone() {
        let mut top = watching();
        top.step(Seen::Nobody("no answer".into()));
        assert_eq!(shown(&top, 90, 8)[1], "this is old: no answer");
        press(&mut top, &[Key::Last]);
        let Seen::Look(mut fewer) = look(9, [0, 0], 0) else { panic!("a look") };
        fewer.status.apps.pop();
        top.step(Seen::Look(fewer));
        assert_eq!((top.selected(), shown(&top, 90, 8)[1].as_str()), (Some(0), ""));
        let Seen::Look(mut none) = look(10, [0, 0], 0) else { panic!("a look") };
        none.status.apps.clear();
        top.step(Seen::Look(none));
        assert_eq!(press(&mut top, &[Key::Down, Key::Enter, Key::Letter('r')]), None);
    }
}
