//! *Numbers*: the median of rounds, and the format of numbers.

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.get(middle) {
        None => f64::NAN,
        Some(&upper) if values.len() % 2 == 1 => upper,
        Some(&upper) => (values[middle - 1] + upper) / 2.0,
    }
}

/// The median of the rounds' ratios. Both sides of a ratio are from the same few seconds.
pub(crate) fn median_ratio(over: &[f64], under: &[f64]) -> f64 {
    let ratios = over.iter().zip(under).map(|(over, under)| over / under);
    median(ratios.collect())
}

/// Three significant digits, or all digits before the point in groups: 12,345.
pub(crate) fn shown(value: f64) -> String {
    if value.fract() != 0.0 && value.abs() < 100.0 {
        let decimals = (2.0 - value.abs().log10().floor()).clamp(0.0, 5.0) as usize;
        return format!("{value:.decimals$}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
