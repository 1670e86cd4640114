//! The table of planted bugs in `docs/simulation.md`.
use super::{Catch, Catcher};

/// A planted bug and how it was caught from several first seeds.
#[derive(Clone, Debug)]
pub struct Row {
    /// Number of the bug.
    pub id: String,
    /// What is wrong.
    pub title: String,
    /// How it is planted: a patch or a switch.
    pub planted_as: &'static str,
    /// Who had to notice.
    pub catcher: Catcher,
    /// What each start found; `None` where its seeds were not enough.
    pub catches: Vec<Option<Catch>>,
}

impl Row {
    /// Whether every start caught it.
    pub fn is_caught(&self) -> bool {
        !self.catches.is_empty() && self.catches.iter().all(Option::is_some)
    }

    /// Seeds needed, in the middle of the starts; a start that caught nothing counts as more than any other.
    pub fn median_seeds(&self) -> Option<u64> {
        let mut seeds: Vec<u64> =
            self.catches.iter().map(|found| found.as_ref().map_or(u64::MAX, |found| found.seeds)).collect();
        seeds.sort_unstable();
        seeds.get(seeds.len() / 2).copied().filter(|&seeds| seeds != u64::MAX)
    }

    /// What the first start that caught it saw.
    fn violation(&self) -> &str {
        self.catches.iter().flatten().next().map_or("nothing", |found| &found.violation)
    }
}

/// The rows as Markdown.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| bug | what is wrong | planted as | caught by | seeds needed (median) | what it saw |\n|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let seeds = match (row.median_seeds(), &row.catcher) {
            (None, _) => "**not caught**".into(),
            (Some(_), Catcher::Test(_)) => "a test".into(),
            (Some(seeds), Catcher::Simulator(_)) => seeds.to_string(),
        };
        let saw = one_line(row.violation());
        let Row { id, title, planted_as, catcher, .. } = row;
        text += &format!("| {id} | {title} | {planted_as} | `{catcher}` | {seeds} | {saw} |\n");
    }
    text
}

/// What a cell of a table holds of a report.
fn one_line(report: &str) -> String {
    const LONGEST: usize = 160;
    let line = report.replace('|', "\\|").replace('\n', " ");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{} ...", line[..end].trim_end()),
        None => line,
    }
}

const BEGIN: &str = "<!-- planted bugs: begin -->";
const END: &str = "<!-- planted bugs: end -->";

/// The page with the table between its markers replaced.
///
/// # Errors
/// When the page has no markers.
pub fn write_between_markers(page: &str, table: &str) -> Result<String, String> {
    let missing = |marker: &str| format!("the page has no line `{marker}`");
    let (before, rest) = page.split_once(BEGIN).ok_or_else(|| missing(BEGIN))?;
    let (_, after) = rest.split_once(END).ok_or_else(|| missing(END))?;
    Ok(format!("{before}{BEGIN}\n{table}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::{super::Simulator, *};

    fn row(seeds: &[Option<u64>]) -> Row {
        let catch = |&seeds: &Option<u64>| seeds.map(|seeds| Catch { seed: 1, seeds, violation: "a | b".into() });
        Row {
            id: "M06".into(),
            title: "cut anywhere".into(),
            planted_as: "patch",
            catcher: Catcher::Simulator(Simulator::Wal),
            catches: seeds.iter().map(catch).collect(),
        }
    }

    #[test]
    fn a_start_that_caught_nothing_counts_against_the_median() {
        assert_eq!(row(&[Some(9), Some(2), Some(4)]).median_seeds(), Some(4));
        assert_eq!(row(&[None, Some(2), None]).median_seeds(), None);
        assert!(row(&[Some(1), Some(2)]).is_caught());
        assert!(!row(&[Some(1), None]).is_caught());
        assert!(!row(&[]).is_caught(), "nothing was tried");
    }

    #[test]
    fn the_table_replaces_what_was_between_the_markers() {
        let table = table(&[row(&[Some(3)])]);
        assert!(table.ends_with("| M06 | cut anywhere | patch | `wal-sim` | 3 | a \\| b |\n"));
        let page = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let new = write_between_markers(&page, &table).expect("it has markers");
        assert_eq!(new, format!("before\n{BEGIN}\n{table}{END}\nafter\n"));
        assert!(write_between_markers("no markers", &table).is_err());
    }
}
