//! The *report* of a bench as lines of text: medians over the rounds, ratios and sizes beside their targets.

/// What a value should be.
#[derive(Clone, Copy)]
#[allow(dead_code)] // not every bench has a target of each kind
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
    None,
}

pub(crate) fn heading(text: &str) {
    println!("\n{text}");
}

/// One value beside its target.
pub(crate) fn value(name: &str, value: f64, unit: &str, target: Target) {
    println!(
        "  {name:<36} {value:>8.2} {unit:<3}  {}",
        target.verdict(value)
    );
}

/// The median of the rounds' ratios: both sides of each are from the same few seconds.
pub(crate) fn ratio(name: &str, over: &[f64], under: &[f64], target: Target) {
    let ratios = over.iter().zip(under).map(|(over, under)| over / under);
    value(name, median(ratios.collect()), "", target);
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.get(middle) {
        None => f64::NAN,
        Some(&upper) if values.len() % 2 == 1 => upper,
        Some(&upper) => (values[middle - 1] + upper) / 2.0,
    }
}

/// How far the rounds lie apart, in percent of their median.
pub(crate) fn spread(values: Vec<f64>) -> f64 {
    let (low, high) = values
        .iter()
        .fold((f64::MAX, f64::MIN), |(low, high), &value| {
            (low.min(value), high.max(value))
        });
    (high - low) / median(values) * 100.0
}

impl Target {
    fn verdict(self, value: f64) -> String {
        let (is_met, text) = match self {
            Self::AtLeast(least) => (value >= least, format!("target: at least {least}")),
            Self::AtMost(most) => (value <= most, format!("target: at most {most}")),
            Self::None => return String::new(),
        };
        format!("{text}{}", if is_met { ", met" } else { ", MISSED" })
    }
}
