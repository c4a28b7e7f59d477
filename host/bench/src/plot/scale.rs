//! The *scale* of a panel: the values that heights stand for.

use crate::numbers::whole;

/// Room above the highest bar, for its label.
const HEADROOM: f64 = 1.18;

#[derive(Clone, Copy)]
pub(crate) enum Scale {
    Linear {
        high: f64,
    },
    /// From one power of ten to another.
    Log {
        low: i32,
        high: i32,
    },
}

impl Scale {
    pub(crate) fn linear(highest: f64) -> Self {
        Self::Linear {
            high: highest.max(1.0) * HEADROOM,
        }
    }

    /// With room for all values above zero.
    pub(crate) fn log(values: impl Iterator<Item = f64>) -> Self {
        let exponents = values.filter(|value| *value > 0.0).map(f64::log10);
        let (low, high) = exponents.fold((0.0_f64, 1.0_f64), |(low, high), exponent| {
            (low.min(exponent), high.max(exponent + HEADROOM.log10()))
        });
        // Values below a hundredth are as good as nothing.
        Self::Log {
            low: (low.floor() as i32).max(-2),
            high: high.ceil() as i32,
        }
    }

    /// How high a value is, from 0 to 1.
    pub(crate) fn height(self, value: f64) -> f64 {
        let share = match self {
            Self::Linear { high } => value / high,
            Self::Log { low, high } => (value.log10() - f64::from(low)) / f64::from(high - low),
        };
        if share.is_finite() {
            share.clamp(0.0, 1.0)
        } else {
            0.0
        }
    }

    pub(crate) fn ticks(self) -> Vec<f64> {
        match self {
            Self::Linear { high } => {
                let step = round(high / 4.0);
                (0..)
                    .map(|at| f64::from(at) * step)
                    .take_while(|tick| *tick <= high)
                    .collect()
            }
            Self::Log { low, high } => (low..=high).map(|exponent| 10_f64.powi(exponent)).collect(),
        }
    }
}

/// The next 1, 2 or 5 times a power of ten.
fn round(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let digit = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|digit| digit * power >= step);
    digit.unwrap_or(10.0) * power
}

/// The shortest text for a tick.
pub(crate) fn tick_label(tick: f64) -> String {
    if tick >= 1.0 || tick == 0.0 {
        whole(tick)
    } else {
        tick.to_string()
    }
}
