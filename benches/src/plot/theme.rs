//! Colours. Each theme has a ground of its own, so that a picture is readable on any page.
use plotters::style::RGBColor;

/// Colours of a picture.
#[derive(Clone, Copy, Debug)]
pub struct Theme {
    pub(super) ground: RGBColor,
    pub(super) ink: RGBColor,
    /// Axes, second lines of text.
    pub(super) faint: RGBColor,
    pub(super) grid: RGBColor,
    pub(super) throughput: RGBColor,
    pub(super) median: RGBColor,
    pub(super) p99: RGBColor,
    pub(super) fault: RGBColor,
    /// How much of the fault's colour its ground has.
    pub(super) shade: f64,
}

/// For light pages.
pub const LIGHT: Theme = Theme {
    ground: RGBColor(255, 255, 255),
    ink: RGBColor(31, 35, 40),
    faint: RGBColor(89, 99, 110),
    grid: RGBColor(225, 228, 232),
    throughput: RGBColor(9, 105, 218),
    median: RGBColor(154, 103, 0),
    p99: RGBColor(188, 76, 0),
    fault: RGBColor(207, 34, 46),
    shade: 0.10,
};

/// For dark pages.
pub const DARK: Theme = Theme {
    ground: RGBColor(13, 17, 23),
    ink: RGBColor(240, 246, 252),
    faint: RGBColor(145, 152, 161),
    grid: RGBColor(42, 49, 60),
    throughput: RGBColor(88, 166, 255),
    median: RGBColor(210, 168, 60),
    p99: RGBColor(255, 148, 77),
    fault: RGBColor(248, 81, 73),
    shade: 0.17,
};
