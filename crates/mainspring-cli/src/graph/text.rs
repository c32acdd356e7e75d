//! The steps as lines.

use std::fmt::Write;

use super::{Graph, Node, State};

impl State {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Retrying => "to be retried",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }

    const fn mark(self) -> char {
        match self {
            Self::Running => '●',
            Self::Waiting => '◌',
            Self::Retrying => '↻',
            Self::Completed => '✓',
            Self::Failed => '✗',
        }
    }
}

impl Graph {
    /// A line for each step, and below it where it leads.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for (n, node) in self.nodes.iter().enumerate() {
            let _ = writeln!(text, "{}", line(node)); // a string takes everything
            let edges: Vec<_> = self.edges.iter().filter(|edge| edge.from == n).collect();
            for (i, edge) in edges.iter().enumerate() {
                let Some(to) = self.nodes.get(edge.to) else { continue };
                let branch = if i + 1 == edges.len() { '└' } else { '├' };
                let label = if edge.label.is_empty() { String::new() } else { format!(" {} ", edge.label) };
                let _ = writeln!(text, "{branch}─{label}→ {}", to.id);
            }
        }
        text
    }
}

fn line(node: &Node) -> String {
    let mut line = format!("{} {}", node.state.map_or('○', State::mark), node.id);
    if !node.handler.is_empty() {
        let _ = write!(line, " ({})", node.handler);
    }
    if let Some(state) = node.state {
        let _ = write!(line, " {}", state.word());
    }
    if node.runs > 1 {
        let _ = write!(line, ", {} runs", node.runs);
    }
    line
}
