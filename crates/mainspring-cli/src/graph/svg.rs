//! The steps as a picture: a column for each layer.

use std::fmt::Write;

use super::{Graph, State};

const WIDTH: usize = 180;
const HEIGHT: usize = 46;
const ACROSS: usize = 260;
const DOWN: usize = 80;
const MARGIN: usize = 20;
/// Longest text of a box, in characters.
const TEXT: usize = 24;

const STYLE: &str = "text{font:13px sans-serif;fill:#222}.small{font-size:10px;fill:#666}\
    rect{fill:#fff;stroke:#888}.completed{fill:#dff3e1;stroke:#2e7d32}.failed{fill:#fbe0dd;stroke:#c62828}\
    .running{fill:#dcecfb;stroke:#1565c0}.waiting{fill:#fdf3d1;stroke:#b28704}\
    .edge{fill:none;stroke:#888;marker-end:url(#end)}.failure{stroke-dasharray:4 3}";

impl Graph {
    /// A picture of its own, without scripts, links or fonts.
    pub(crate) fn svg(&self) -> String {
        let places = self.places();
        let right = places.iter().map(|(x, _)| x + WIDTH).max().unwrap_or_default() + MARGIN;
        let bottom = places.iter().map(|(_, y)| y + HEIGHT).max().unwrap_or_default() + MARGIN;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {right} {bottom}\" width=\"{right}\" \
             height=\"{bottom}\">\n<style>{STYLE}</style>\n<defs><marker id=\"end\" viewBox=\"0 0 8 8\" refX=\"8\" \
             refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#888\"/>\
             </marker></defs>\n"
        );
        for edge in &self.edges {
            let (Some((x, y)), Some((to_x, to_y))) = (places.get(edge.from), places.get(edge.to)) else {
                continue;
            };
            let (from_x, from_y, to_y) = (x + WIDTH, y + HEIGHT / 2, to_y + HEIGHT / 2);
            let failure = if edge.label == "failure" { " failure" } else { "" };
            let bend = 40;
            let _ = writeln!(
                svg,
                "<path class=\"edge{failure}\" d=\"M{from_x} {from_y}C{} {from_y} {} {to_y} {to_x} {to_y}\"/>\
                 <text class=\"small\" x=\"{}\" y=\"{}\">{}</text>",
                from_x + bend,
                to_x.saturating_sub(bend),
                from_x + 6,
                (from_y + to_y) / 2,
                escaped(&edge.label)
            );
        }
        for (node, (x, y)) in self.nodes.iter().zip(&places) {
            let class = match node.state {
                Some(State::Retrying) => State::Waiting.word(),
                Some(state) => state.word(),
                None => "open",
            };
            let _ = writeln!(
                svg,
                "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"6\"/>\
                 <text x=\"{left}\" y=\"{}\">{}</text><text class=\"small\" x=\"{left}\" y=\"{}\">{}</text>",
                y + 19,
                escaped(&node.id),
                y + 36,
                escaped(&node.handler),
                left = x + 10,
            );
        }
        svg.push_str("</svg>\n");
        svg
    }

    /// Left and upper end of each box.
    fn places(&self) -> Vec<(usize, usize)> {
        let above = |n: usize, layer| self.nodes.iter().take(n).filter(|node| node.layer == layer).count();
        let place = |(n, layer)| (MARGIN + layer * ACROSS, MARGIN + above(n, layer) * DOWN);
        self.nodes.iter().map(|node| node.layer).enumerate().map(place).collect()
    }
}

/// A text that means nothing in XML, cut to the width of a box.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().take(TEXT) {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push('?'),
            c => out.push(c),
        }
    }
    out
}
