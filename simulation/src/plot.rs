//! The plot: calls to STS per second over time, a line for each setting, the quota beside them.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use crate::scenario::Outcome;

const SIZE: (u32, u32) = (960, 420);
/// Seconds that make one point: single seconds are a hedge.
const STEP: usize = 10;
const COLOURS: [RGBColor; 4] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 39, 40),
    RGBColor(44, 160, 44),
    RGBColor(148, 103, 189),
];

/// Draws the outcomes of one scenario as an SVG file.
pub fn draw(file: &Path, quota: f64, outcomes: &[&Outcome]) -> Result<()> {
    let title = outcomes
        .first()
        .map_or("", |outcome| outcome.scenario.title());
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    let failed = |error: &dyn std::fmt::Display| anyhow!("{}: {error}", file.display());
    root.fill(&WHITE).map_err(|error| failed(&error))?;
    let lines: Vec<_> = outcomes.iter().map(|outcome| points(outcome)).collect();
    let end = lines
        .iter()
        .flatten()
        .map(|point| point.0)
        .fold(1.0, f64::max);
    let top = lines
        .iter()
        .flatten()
        .map(|point| point.1)
        .fold(quota, f64::max)
        * 1.05;
    let mut chart = ChartBuilder::on(&root)
        .caption(
            format!("Calls to STS per second: {title}"),
            ("sans-serif", 18),
        )
        .margin(10)
        .x_label_area_size(36)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..end, 0.0..top)
        .map_err(|error| failed(&error))?;
    chart
        .configure_mesh()
        .x_desc("minutes")
        .light_line_style(WHITE)
        .draw()
        .map_err(|error| failed(&error))?;
    for ((outcome, line), colour) in outcomes.iter().zip(lines).zip(COLOURS.iter().cycle()) {
        chart
            .draw_series(LineSeries::new(line, colour.stroke_width(2)))
            .map_err(|error| failed(&error))?
            .label(outcome.setting.name)
            .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart
        .draw_series(LineSeries::new(
            [(0.0, quota), (end, quota)],
            BLACK.stroke_width(1),
        ))
        .map_err(|error| failed(&error))?
        .label("the account's quota")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], BLACK));
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.2))
        .draw()
        .map_err(|error| failed(&error))?;
    root.present().map_err(|error| failed(&error))
}

/// Minutes, and the calls per second, served or not, averaged over [`STEP`].
#[allow(
    clippy::cast_precision_loss,
    reason = "seconds of an hour, calls of a second"
)]
fn points(outcome: &Outcome) -> Vec<(f64, f64)> {
    let steps = outcome.seconds.chunks(STEP).enumerate();
    steps
        .map(|(number, seconds)| {
            let calls: u32 = seconds.iter().map(|it| it.served + it.throttled).sum();
            let minutes = (number * STEP) as f64 / 60.0;
            (minutes, f64::from(calls) / seconds.len() as f64)
        })
        .collect()
}
