//! Text as a tree: branches drawn with lines, columns of siblings aligned.

/// A line and what hangs below it. The cells of siblings are padded to the same width.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Branch {
    cells: Vec<String>,
    children: Vec<Self>,
}

impl Branch {
    /// A line of one cell.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            cells: vec![text.into()],
            children: Vec::new(),
        }
    }

    /// A line of several cells.
    pub fn row<const N: usize>(cells: [String; N]) -> Self {
        Self {
            cells: cells.into(),
            children: Vec::new(),
        }
    }

    /// The same with these lines below it.
    pub fn with(mut self, children: impl IntoIterator<Item = Self>) -> Self {
        self.children.extend(children);
        self
    }

    /// The same, or nothing when nothing hangs below it.
    pub fn unless_bare(self) -> Option<Self> {
        (!self.children.is_empty()).then_some(self)
    }

    /// This line and everything below it, each line ended by a newline.
    pub fn render(&self) -> String {
        let mut out = String::new();
        out.push_str(&self.cells.join("  "));
        out.push('\n');
        below(&self.children, "", &mut out);
        out
    }
}

fn below(branches: &[Branch], indent: &str, out: &mut String) {
    let widths = widths(branches);
    for (index, branch) in branches.iter().enumerate() {
        let last = index + 1 == branches.len();
        let mut line = format!("{indent}{} ", if last { "└─" } else { "├─" });
        for (column, cell) in branch.cells.iter().enumerate() {
            line.push_str(cell);
            if column + 1 < branch.cells.len() {
                let gap = widths
                    .get(column)
                    .copied()
                    .unwrap_or(0)
                    .saturating_sub(cell.chars().count());
                line.extend(std::iter::repeat_n(' ', gap + 2));
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
        let deeper = format!("{indent}{} ", if last { "  " } else { "│ " });
        below(&branch.children, &deeper, out);
    }
}

/// The width of each column; the last cell of a line takes part only where others follow in that column.
fn widths(branches: &[Branch]) -> Vec<usize> {
    let mut widths = Vec::new();
    for branch in branches {
        for (column, cell) in branch
            .cells
            .iter()
            .enumerate()
            .take(branch.cells.len().saturating_sub(1))
        {
            if widths.len() <= column {
                widths.resize(column + 1, 0);
            }
            widths[column] = widths[column].max(cell.chars().count());
        }
    }
    widths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_are_drawn_and_columns_aligned() {
        let cells = |a: &str, b: &str| Branch::row([a.to_owned(), b.to_owned()]);
        let tree = Branch::new("root").with([
            Branch::new("first").with([cells("a", "one"), cells("longer", "two")]),
            Branch::new("last").with([Branch::new("deep").with([Branch::new("deeper")])]),
        ]);
        let expected = "\
root
├─ first
│  ├─ a       one
│  └─ longer  two
└─ last
   └─ deep
      └─ deeper
";
        assert_eq!(tree.render(), expected);
    }

    #[test]
    fn no_line_ends_in_blanks() {
        let tree = Branch::new("root").with([
            Branch::row(["a".to_owned(), String::new()]),
            Branch::row(["abc".to_owned(), "x".to_owned()]),
        ]);
        for line in tree.render().lines() {
            assert_eq!(line, line.trim_end());
        }
    }
}
