//! The comparison as figures, legible in black and white.

use std::path::Path;

use anyhow::anyhow;
use plotters::coord::Shift;
use plotters::coord::ranged1d::Ranged;
use plotters::element::{DynElement, IntoDynElement};
use plotters::prelude::*;

use crate::contender::{MATCHED, POLICIES, Policy};
use crate::scenario::{SCENARIOS, Scenario};
use crate::statistics::Estimate;
use crate::summary::Summary;

/// In pixels.
const SIZE: (u32, u32) = (960, 540);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// Time out of service, for each scenario and policy: the median with its interval, and the 95th
/// percentile.
///
/// # Errors
/// What could not be written.
pub fn out_of_service(path: &Path, summaries: &[Summary]) -> anyhow::Result<()> {
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    draw_out_of_service(&area, summaries).map_err(|error| failure(path, &error))
}

/// Mistakes about a leader that is well against detection time, a curve for each policy: suspicions
/// by one follower, and changes of leaders.
///
/// # Errors
/// What could not be written.
pub fn false_changes(path: &Path, summaries: &[Summary]) -> anyhow::Result<()> {
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    draw_false_changes(&area, summaries).map_err(|error| failure(path, &error))
}

fn failure(path: &Path, error: &DrawingAreaErrorKind<std::io::Error>) -> anyhow::Error {
    anyhow!("cannot write {}: {error}", path.display())
}

fn draw_out_of_service(area: &Area<'_>, summaries: &[Summary]) -> Drawn {
    area.fill(&WHITE)?;
    let shown = || summaries.iter().filter(|summary| summary.contender.bears == MATCHED);
    let tops = shown().map(|summary| summary.p95.high);
    let bottoms = shown().map(|summary| summary.median.low.max(1.0));
    let (low, high) = (bottoms.fold(f64::MAX, f64::min), tops.fold(1.0, f64::max));
    let mut chart = ChartBuilder::on(area)
        .caption("Time out of service: median with 95 % interval, and p95 (-)", ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(70)
        .build_cartesian_2d(0.0..SCENARIOS.len() as f64, (low / 1.5..high * 1.5).log_scale())?;
    let title = |x: &f64| {
        let scenario = SCENARIOS.get(*x as usize).filter(|_| x.fract() == 0.5);
        scenario.map_or(String::new(), ToString::to_string)
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .y_label_formatter(&|y| format!("{y:.0}"))
        .x_labels(2 * SCENARIOS.len() + 1)
        .x_label_formatter(&title)
        .y_desc("milliseconds, logarithmic")
        .draw()?;
    for (place, policy) in POLICIES.into_iter().enumerate() {
        let points: Vec<_> = SCENARIOS
            .iter()
            .enumerate()
            .filter_map(|(column, scenario)| {
                let is_it =
                    |it: &&Summary| it.contender.policy == policy && it.scenario == *scenario;
                let x = column as f64 + 0.2 * (place as f64 + 1.0);
                shown().find(is_it).map(|summary| (x, summary))
            })
            .collect();
        let style = BLACK.stroke_width(1);
        chart.draw_series(points.iter().map(|(x, summary)| {
            let Estimate { value, low, high } = summary.median;
            ErrorBar::new_vertical(*x, low, value, high, style.filled(), 6)
        }))?;
        chart.draw_series(points.iter().map(|(x, summary)| {
            let p95 = summary.p95.value;
            PathElement::new(vec![(x - 0.05, p95), (x + 0.05, p95)], BLACK.stroke_width(2))
        }))?;
        chart
            .draw_series(points.iter().map(|(x, summary)| {
                EmptyElement::at((*x, summary.median.value)) + Mark(policy).drawn()
            }))?
            .label(policy.to_string())
            .legend(move |(x, y)| EmptyElement::at((x + 10, y)) + Mark(policy).drawn());
    }
    draw_legend(&mut chart)?;
    area.present()
}

fn draw_false_changes(area: &Area<'_>, summaries: &[Summary]) -> Drawn {
    area.fill(&WHITE)?;
    let (left, right) = area.split_horizontally(SIZE.0 / 2);
    let suspicions = "Suspicions of a leader that is well";
    curves(&left, summaries, suspicions, |summary| summary.mistakes)?;
    curves(&right, summaries, "Changes of a leader that is well", |summary| summary.unjustified)?;
    area.present()
}

/// A rate under loss against the median time of detection of a killed leader.
fn curves(
    area: &Area<'_>,
    summaries: &[Summary],
    title: &str,
    rate: fn(&Summary) -> Estimate,
) -> Drawn {
    let of = |policy: Policy| {
        let is_it = move |it: &&Summary, scenario: Scenario| {
            it.contender.policy == policy && it.scenario == scenario
        };
        let lossy = summaries.iter().filter(move |it| is_it(it, Scenario::L3));
        let mut points: Vec<_> = lossy
            .filter_map(|lossy| {
                let mut killed = summaries.iter().filter(|it| is_it(it, Scenario::L1));
                let killed = killed.find(|it| it.contender == lossy.contender)?;
                Some((killed.detected?.value, rate(lossy)))
            })
            .collect();
        points.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        points
    };
    let all: Vec<_> = POLICIES.into_iter().flat_map(of).collect();
    let right = all.iter().map(|(x, _)| *x).fold(1.0, f64::max);
    let top = all.iter().map(|(_, rate)| rate.high).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(-10.0..right * 1.1, 0.0..top * 1.35)?;
    chart
        .configure_mesh()
        .x_desc("detection time of a killed leader, ms (median)")
        .y_desc("per hour, 10 % of datagrams lost")
        .x_labels(6)
        .light_line_style(TRANSPARENT)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.0}"))
        .draw()?;
    for policy in POLICIES {
        let points = of(policy);
        chart.draw_series(LineSeries::new(
            points.iter().map(|(x, rate)| (*x, rate.value)),
            BLACK.stroke_width(1),
        ))?;
        chart.draw_series(points.iter().map(|(x, Estimate { value, low, high })| {
            ErrorBar::new_vertical(*x, *low, *value, *high, BLACK.filled(), 6)
        }))?;
        chart
            .draw_series(
                points
                    .iter()
                    .map(|(x, rate)| EmptyElement::at((*x, rate.value)) + Mark(policy).drawn()),
            )?
            .label(policy.to_string())
            .legend(move |(x, y)| EmptyElement::at((x + 10, y)) + Mark(policy).drawn());
    }
    draw_legend(&mut chart)
}

fn draw_legend<'a, X, Y>(chart: &mut ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, Y>>) -> Drawn
where
    X: Ranged<ValueType = f64>,
    Y: Ranged<ValueType = f64>,
{
    let mut labels = chart.configure_series_labels();
    labels.position(SeriesLabelPosition::UpperRight).background_style(WHITE).draw()
}

/// The mark of a policy. All can be told apart where they lie on each other.
struct Mark(Policy);

impl Mark {
    fn drawn<'a>(self) -> DynElement<'static, SVGBackend<'a>, (i32, i32)> {
        let line = BLACK.stroke_width(2);
        match self.0 {
            Policy::Heartbeat => Circle::new((0, 0), 3, BLACK.filled()).into_dyn(),
            Policy::Phi => {
                PathElement::new(vec![(0, -9), (8, 6), (-8, 6), (0, -9)], line).into_dyn()
            }
            Policy::Fixed => Rectangle::new([(-5, -5), (5, 5)], line).into_dyn(),
            Policy::Oracle => Cross::new((0, 0), 5, line).into_dyn(),
        }
    }
}
