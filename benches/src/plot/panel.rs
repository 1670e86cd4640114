//! One scenario: throughput above, times below, the fault shaded in both.
use super::{
    axis::{Axis, grouped, steps, time},
    run::Scenario,
    sheet::{Area, write, write_at},
    theme::Theme,
};
use plotters::{prelude::*, style::text_anchor::HPos};

/// Where a panel is.
pub(super) struct Frame {
    pub(super) corner: (i32, i32),
    pub(super) size: (i32, i32),
}

/// What all panels have in common.
pub(super) struct Scale {
    pub(super) seconds: f64,
    /// Records a second.
    pub(super) highest: f64,
}

/// Times that are drawn. Milliseconds.
const TIMES: (f64, f64) = (0.3, 20_000.0);
const LABELLED: [f64; 5] = [1.0, 10.0, 100.0, 1_000.0, 10_000.0];
/// Left of the axes, and right of them.
const LEFT: i32 = 110;
const RIGHT: i32 = 30;
/// From the corner to the upper plot, its height, the space between, the height of the lower one.
const TITLE: i32 = 96;
const UPPER: i32 = 220;
const BETWEEN: i32 = 26;
const LOWER: i32 = 190;
const SMALL: i32 = 24;

pub(super) fn draw(
    area: &Area<'_>,
    frame: &Frame,
    scenario: &Scenario,
    scale: &Scale,
    theme: &Theme,
) -> anyhow::Result<()> {
    let (left, top) = frame.corner;
    write(area, &capitalised(&scenario.title), (left, top), 34, FontStyle::Bold, theme.ink)?;
    write(area, &summary(scenario), (left, top + 46), SMALL, FontStyle::Normal, theme.faint)?;
    let x = Axis::linear(0.0, scale.seconds, (left + LEFT, left + frame.size.0 - RIGHT));
    let upper = (top + TITLE, top + TITLE + UPPER);
    let lower = (upper.1 + BETWEEN, upper.1 + BETWEEN + LOWER);
    let throughput = Axis::linear(0.0, scale.highest, (upper.1, upper.0));
    let times = Axis::logarithmic(TIMES.0, TIMES.1, (lower.1, lower.0));
    for plot in [upper, lower].into_iter().filter(|_| scenario.scenario != "none") {
        shade(area, scenario, &x, plot, theme)?;
    }
    for value in steps(scale.highest, 2.0) {
        level(area, &x, scale, throughput.place(value), &grouped(value), theme)?;
    }
    for value in LABELLED {
        level(area, &x, scale, times.place(value), &time(value), theme)?;
    }
    for second in steps(scale.seconds, 6.0) {
        let label = if second == 0.0 { "0 s".to_owned() } else { second.to_string() };
        let at = (x.place(second), lower.1 + 8);
        write_at(area, &label, at, SMALL, FontStyle::Normal, theme.faint, HPos::Center)?;
    }
    let timeline = &scenario.timeline;
    let acked = timeline.throughput();
    filled(area, &acked, &x, &throughput, theme)?;
    line(area, &acked, &x, &throughput, theme.throughput, 3)?;
    for (second, _) in acked.iter().filter(|(_, value)| throughput.exceeds(*value)) {
        let at = (x.place(*second), upper.0 - 24);
        write_at(area, "^", at, SMALL, FontStyle::Bold, theme.throughput, HPos::Center)?;
    }
    line(area, &timeline.at_middles(timeline.p50_ms.iter().copied()), &x, &times, theme.median, 2)?;
    line(area, &timeline.at_middles(timeline.p99_ms.iter().copied()), &x, &times, theme.p99, 3)
}

/// What one has to know of it, in a line.
fn summary(scenario: &Scenario) -> String {
    let Scenario { fault, records, checked, .. } = scenario;
    let (acknowledged, unknown) = (grouped(records.acknowledged as f64), grouped(records.unknown as f64));
    format!(
        "longest gap {} (all partitions: {}); {} of {acknowledged} lost, {unknown} unknown",
        time(fault.gap_partition_max_ms),
        time(fault.gap_ms),
        checked.lost,
    )
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

/// The ground behind the fault.
fn shade(area: &Area<'_>, scenario: &Scenario, x: &Axis, plot: (i32, i32), theme: &Theme) -> anyhow::Result<()> {
    let (from, until) = (x.place(scenario.fault_from_ms / 1e3), x.place(scenario.fault_until_ms / 1e3));
    area.draw(&Rectangle::new([(from, plot.0), (until, plot.1)], theme.fault.mix(theme.shade).filled()))?;
    Ok(())
}

/// A line across at one value, with its label.
fn level(area: &Area<'_>, x: &Axis, scale: &Scale, y: i32, label: &str, theme: &Theme) -> anyhow::Result<()> {
    let ends = vec![(x.place(0.0), y), (x.place(scale.seconds), y)];
    area.draw(&PathElement::new(ends, theme.grid.stroke_width(2)))?;
    let at = (x.place(0.0) - 12, y - SMALL / 2 + 2);
    write_at(area, label, at, SMALL, FontStyle::Normal, theme.faint, HPos::Right)
}

fn line(
    area: &Area<'_>,
    points: &[(f64, f64)],
    x: &Axis,
    y: &Axis,
    colour: RGBColor,
    width: u32,
) -> anyhow::Result<()> {
    let places: Vec<(i32, i32)> = points.iter().map(|(second, value)| (x.place(*second), y.place(*value))).collect();
    area.draw(&PathElement::new(places, colour.stroke_width(width)))?;
    Ok(())
}

/// The ground below a line.
fn filled(area: &Area<'_>, points: &[(f64, f64)], x: &Axis, y: &Axis, theme: &Theme) -> anyhow::Result<()> {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Ok(()) };
    let mut places = vec![(x.place(first.0), y.place(0.0))];
    places.extend(points.iter().map(|(second, value)| (x.place(*second), y.place(*value))));
    places.push((x.place(last.0), y.place(0.0)));
    area.draw(&Polygon::new(places, theme.throughput.mix(0.15)))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{DARK, LIGHT, Run, png, svg};

    #[test]
    fn where_nothing_happens_nothing_is_shaded() {
        let shaded = |run: &Run| svg(run, &LIGHT).expect("drawn").matches("opacity=\"0.1\"").count();
        let mut run = run();
        assert_eq!(shaded(&run), 2, "above and below, in one of the two panels");
        run.scenarios[0].scenario = "leader".to_owned();
        assert_eq!(shaded(&run), 4);
    }

    fn run() -> Run {
        serde_json::from_str(include_str!("golden.json")).expect("what the bench prints")
    }

    #[test]
    fn every_scenario_gets_a_panel_with_its_fault() {
        for theme in [LIGHT, DARK] {
            let picture = svg(&run(), &theme).expect("drawn");
            for words in [
                "No fault",
                "A leader killed",
                "longest gap 679 ms (all partitions: 16 ms); 0 of 84 030 lost, 20 unknown",
            ] {
                assert!(picture.contains(words), "{words:?} is not in the picture");
            }
        }
    }

    #[test]
    fn what_exceeds_the_panel_is_marked() {
        let mut run = run();
        assert_eq!(svg(&run, &LIGHT).expect("drawn").matches("\n^\n").count(), 0);
        run.scenarios[1].timeline.acked[3] = 1e6;
        assert_eq!(svg(&run, &LIGHT).expect("drawn").matches("\n^\n").count(), 1);
    }

    #[test]
    fn a_picture_becomes_pixels_with_the_text_in_it() {
        let picture = svg(&run(), &LIGHT).expect("drawn");
        let bytes = png(&picture).expect("rendered");
        assert!(bytes.starts_with(b"\x89PNG"));
        // Without a font there would be much less to compress.
        let mute = png(&picture.replace("sans-serif", "no such font")).expect("rendered");
        assert!(bytes.len() > mute.len() + 10_000, "{} and {}", bytes.len(), mute.len());
    }
}
