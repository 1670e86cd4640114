//! From values to places.

/// Where values of a range lie between two places, both ends included. What is beyond the range lies at its end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Axis {
    from: f64,
    to: f64,
    at: (i32, i32),
    logarithmic: bool,
}

impl Axis {
    pub(super) fn linear(from: f64, to: f64, at: (i32, i32)) -> Self {
        Axis { from, to, at, logarithmic: false }
    }

    /// Of values above 0.
    pub(super) fn logarithmic(from: f64, to: f64, at: (i32, i32)) -> Self {
        Axis { from, to, at, logarithmic: true }
    }

    /// The place of a value.
    pub(super) fn place(&self, value: f64) -> i32 {
        let scaled = |value: f64| if self.logarithmic { value.ln() } else { value };
        let value = value.clamp(self.from, self.to);
        let share = (scaled(value) - scaled(self.from)) / (scaled(self.to) - scaled(self.from));
        let (from, to) = (f64::from(self.at.0), f64::from(self.at.1));
        (from + (to - from) * share).round() as i32
    }

    /// Whether a value is beyond the end.
    pub(super) fn exceeds(&self, value: f64) -> bool {
        value > self.to
    }
}

/// Round steps that divide a range from 0 into at most so many parts: 1, 2 or 5 times a power of ten.
pub(super) fn steps(to: f64, parts: f64) -> Vec<f64> {
    let least = to / parts;
    let power = 10_f64.powf(least.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= least);
    let step = step.unwrap_or(to);
    (0..).map(|count| f64::from(count) * step).take_while(|value| *value <= to * 1.000_001).collect()
}

/// A number of milliseconds for a label.
pub(super) fn time(milliseconds: f64) -> String {
    match milliseconds {
        ms if ms >= 10_000.0 => format!("{:.0} s", ms / 1e3),
        ms if ms >= 1_000.0 => format!("{} s", (ms / 100.0).round() / 10.0),
        ms if ms >= 10.0 => format!("{ms:.0} ms"),
        ms => format!("{} ms", (ms * 10.0).round() / 10.0),
    }
}

/// A number with spaces between groups of three digits.
pub(super) fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let groups: Vec<&[u8]> = digits.as_bytes().rchunks(3).rev().collect();
    groups.iter().map(|group| String::from_utf8_lossy(group).into_owned()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_lie_between_the_ends() {
        let axis = Axis::linear(0.0, 10.0, (100, 0));
        assert_eq!((axis.place(0.0), axis.place(5.0), axis.place(10.0)), (100, 50, 0));
        assert_eq!((axis.place(-3.0), axis.place(99.0)), (100, 0), "what is beyond lies at the end");
        assert!(axis.exceeds(10.1) && !axis.exceeds(10.0));
        let axis = Axis::logarithmic(1.0, 10_000.0, (0, 400));
        assert_eq!((axis.place(1.0), axis.place(10.0), axis.place(1000.0)), (0, 100, 300));
        assert_eq!(axis.place(0.0), 0);
    }

    #[test]
    fn steps_are_round() {
        assert_eq!(steps(24_000.0, 4.0), [0.0, 10_000.0, 20_000.0]);
        assert_eq!(steps(26.0, 6.0), [0.0, 5.0, 10.0, 15.0, 20.0, 25.0]);
        assert_eq!(steps(4.0, 4.0), [0.0, 1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn labels_are_short() {
        assert_eq!(
            [0.54, 7.0, 36.4, 679.2, 1022.0, 12_345.0].map(time),
            ["0.5 ms", "7 ms", "36 ms", "679 ms", "1 s", "12 s"]
        );
        assert_eq!([0.0, 999.0, 12_000.0, 1_234_567.0].map(grouped), ["0", "999", "12 000", "1 234 567"]);
    }
}
