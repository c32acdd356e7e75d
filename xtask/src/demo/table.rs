//! The summary.

use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};
use mainspring::ExecutionStatus;

use super::{verdict::Verdict, watch::Watched};

const RULE: LineStyle = LineStyle::none().fill('─').junction('─');
const STYLE: TableStyle = TableStyle::new().top_border(RULE).header_separator(RULE).bottom_border(RULE);

/// A table in the demo's style.
pub(super) fn table() -> Table {
    let mut table = Table::new();
    table.load_style(STYLE);
    table
}

/// What became of everything, in numbers.
pub(super) fn summary(verdict: &Verdict, watched: &Watched) -> String {
    let mut table = table();
    let mut row = |what: &str, count: String| {
        table.add_row([what, &count]);
    };
    row("orders", verdict.orders.to_string());
    for status in ExecutionStatus::ALL {
        let count = verdict.statuses.get(&status).copied().unwrap_or(0);
        if count > 0 || status == ExecutionStatus::Completed {
            row(status.as_str(), count.to_string());
        }
        if status == ExecutionStatus::Failed {
            for (reason, count) in &verdict.reasons {
                row(&format!("  {reason}"), count.to_string());
            }
        }
    }
    row("ended as expected", verdict.as_expected().to_string());
    row("steps retried", verdict.log.steps_retried.to_string());
    if verdict.approvals > 0 {
        row("resumed by the approver", verdict.approvals.to_string());
    }
    if let Some(hands) = &watched.in_hands {
        row("in the hands of the killed worker", hands.len().to_string());
        row("  taken over and ended", verdict.taken_over.to_string());
        row("  marked as recovered in the log", verdict.recovered.len().to_string());
        if let Some(parcels) = verdict.kept {
            row("  parcels kept by checkpoints", parcels.to_string());
        }
    }
    row("steps recorded more than once", verdict.double_steps().to_string());
    row("events in the log, all checked", verdict.log.events.to_string());
    let seconds = watched.wall.as_secs_f64();
    row("wall time", format!("{seconds:.1} s"));
    row("steps per second", format!("{:.0}", verdict.log.steps_started as f64 / seconds.max(0.001)));
    if let Some(counts) = table.column_mut(1) {
        counts.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}
