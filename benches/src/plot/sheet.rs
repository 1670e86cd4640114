//! The whole picture: a heading, the panels in rows of three, and what the colours mean.
use super::{
    axis::grouped,
    panel::{self, Frame, Scale},
    run::Run,
    theme::Theme,
};
use anyhow::{Context as _, ensure};
use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

/// What is drawn on.
pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const COLUMNS: usize = 3;
const WIDTH: u32 = 2400;
const MARGIN: i32 = 60;
const HEADING: i32 = 190;
const PANEL: (i32, i32) = (760, 640);
const FOOTING: i32 = 130;
/// Throughput is drawn up to this many times the rate that was due.
const HIGHEST: f64 = 2.0;

/// Draws a run.
///
/// # Errors
/// A run without scenarios, or with one without a timeline.
pub fn svg(run: &Run, theme: &Theme) -> anyhow::Result<String> {
    ensure!(!run.scenarios.is_empty(), "the run has no scenarios");
    let rows = run.scenarios.len().div_ceil(COLUMNS) as i32;
    let height = HEADING + rows * PANEL.1 + FOOTING;
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (WIDTH, height as u32)).into_drawing_area();
        area.fill(&theme.ground)?;
        heading(&area, run, theme)?;
        let seconds = run.scenarios.iter().map(|scenario| scenario.timeline.seconds()).fold(0.0, f64::max);
        ensure!(seconds > 0.0, "the run has no timelines");
        let scale = Scale { seconds, highest: run.rate * HIGHEST };
        for (number, scenario) in run.scenarios.iter().enumerate() {
            let (column, row) = ((number % COLUMNS) as i32, (number / COLUMNS) as i32);
            let corner = (MARGIN + column * PANEL.0, HEADING + row * PANEL.1);
            panel::draw(&area, &Frame { corner, size: PANEL }, scenario, &scale, theme)
                .with_context(|| format!("drawing {:?}", scenario.title))?;
        }
        legend(&area, height - FOOTING + 50, theme)?;
        area.present()?;
    }
    Ok(text)
}

fn heading(area: &Area<'_>, run: &Run, theme: &Theme) -> anyhow::Result<()> {
    write(area, "Throughput under partition", (MARGIN, 40), 54, FontStyle::Bold, theme.ink)?;
    let machine = &run.machine;
    let unknown = || "unknown".to_owned();
    let line = format!(
        "{} node processes, {} partitions, {} records/s of {} B due whatever happens. Acknowledged means on disk at a majority. \
         Nodes and client share {} cores ({}, {}).",
        run.nodes,
        run.partitions,
        grouped(run.rate),
        run.record_bytes,
        machine.cores,
        machine.cpu.clone().unwrap_or_else(unknown),
        machine.file_system.clone().unwrap_or_else(unknown),
    );
    write(area, &line, (MARGIN, 112), 28, FontStyle::Normal, theme.faint)
}

/// What the colours mean, from left to right.
fn legend(area: &Area<'_>, y: i32, theme: &Theme) -> anyhow::Result<()> {
    let mut x = MARGIN;
    let entries = [
        (theme.throughput, 1.0, "records/s acknowledged", 360),
        (theme.p99, 1.0, "p99 and", 120),
        (theme.median, 1.0, "median time from when an append was due to its answer", 750),
        (theme.fault, theme.shade * 2.0, "the fault", 190),
    ];
    for (colour, strength, label, width) in entries {
        area.draw(&Rectangle::new([(x, y + 4), (x + 34, y + 26)], colour.mix(strength).filled()))?;
        write(area, label, (x + 46, y), 28, FontStyle::Normal, theme.ink)?;
        x += width + 46;
    }
    let note = format!("per 100 ms; throughput above {HIGHEST} times what is due is cut off (^)");
    write_at(area, &note, (WIDTH as i32 - MARGIN, y), 28, FontStyle::Normal, theme.faint, HPos::Right)
}

/// A line of text whose upper left corner is at a place.
pub(super) fn write(
    area: &Area<'_>,
    text: &str,
    at: (i32, i32),
    size: i32,
    style: FontStyle,
    colour: RGBColor,
) -> anyhow::Result<()> {
    write_at(area, text, at, size, style, colour, HPos::Left)
}

/// The same, aligned otherwise.
pub(super) fn write_at(
    area: &Area<'_>,
    text: &str,
    at: (i32, i32),
    size: i32,
    style: FontStyle,
    colour: RGBColor,
    aligned: HPos,
) -> anyhow::Result<()> {
    let font = FontDesc::new(FontFamily::SansSerif, f64::from(size), style);
    let style = TextStyle::from(font).color(&colour).pos(Pos::new(aligned, VPos::Top));
    area.draw(&Text::new(text.to_owned(), at, style))?;
    Ok(())
}
