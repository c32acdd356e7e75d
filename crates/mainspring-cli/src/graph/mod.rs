//! The steps of a flow, or those a workflow took, and what became of them: drawn in the terminal, or as a picture.

mod svg;
mod text;

use std::collections::{BTreeMap, VecDeque};

use mainspring::{Flow, RecordedEvent, event::kind};

use crate::Result;

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Running,
    Waiting,
    Retrying,
    Completed,
    Failed,
}

pub(crate) struct Node {
    id: String,
    /// The handler that does it.
    handler: String,
    /// How far from the first step, in steps; those that nothing leads to are last.
    layer: usize,
    state: Option<State>,
    runs: u32,
}

pub(crate) struct Edge {
    from: usize,
    to: usize,
    label: String,
}

/// Steps by layer, and where they lead.
pub(crate) struct Graph {
    nodes: Vec<Node>,
    edges: Vec<Edge>,
}

impl Graph {
    /// The steps of a definition.
    pub(crate) fn of_flow(flow: &Flow) -> Result<Self> {
        let layers = layers(flow)?;
        let last = flow.steps.len();
        let mut nodes: Vec<Node> = flow
            .steps
            .values()
            .map(|step| Node {
                id: step.id.clone(),
                handler: step.handler.clone(),
                layer: layers.get(&*step.id).copied().unwrap_or(last),
                state: None,
                runs: 0,
            })
            .collect();
        nodes.sort_by(|a, b| (a.layer, &a.id).cmp(&(b.layer, &b.id)));
        let place: BTreeMap<String, usize> =
            nodes.iter().enumerate().map(|(n, node)| (node.id.clone(), n)).collect();
        let mut edges = Vec::new();
        for step in flow.steps.values() {
            for edge in step.edges()? {
                if let (Some(from), Some(to)) = (place.get(&step.id), place.get(edge.to)) {
                    edges.push(Edge { from: *from, to: *to, label: label(&edge.field) });
                }
            }
        }
        edges.sort_by_key(|edge| (edge.from, edge.to));
        Ok(Self { nodes, edges })
    }

    /// The steps that a history names, one after the other.
    pub(crate) fn of_history(events: &[RecordedEvent]) -> Self {
        let mut nodes: Vec<Node> = Vec::new();
        for step in events.iter().filter_map(|event| state_of(event).and(event.event.subject.as_ref())) {
            if !nodes.iter().any(|node| node.id == *step) {
                let layer = nodes.len();
                nodes.push(Node { id: step.clone(), handler: String::new(), layer, state: None, runs: 0 });
            }
        }
        let edges = (1..nodes.len()).map(|to| Edge { from: to - 1, to, label: String::new() }).collect();
        Self { nodes, edges }
    }

    /// The same with what became of each step.
    pub(crate) fn with_states(mut self, events: &[RecordedEvent]) -> Self {
        for event in events {
            if event.event.event_type == kind::EXECUTION_RESUMED {
                let waiting = self.nodes.iter_mut().filter(|node| node.state == Some(State::Waiting));
                waiting.for_each(|node| node.state = Some(State::Completed));
            }
            let (Some(state), Some(step)) = (state_of(event), &event.event.subject) else { continue };
            if let Some(node) = self.nodes.iter_mut().find(|node| node.id == *step) {
                node.state = Some(state);
                node.runs += u32::from(event.event.event_type == kind::STEP_STARTED);
            }
        }
        self
    }
}

/// How far each step is from the first.
fn layers(flow: &Flow) -> Result<BTreeMap<&str, usize>> {
    let mut layers = BTreeMap::from([(&*flow.initial_step_id, 0)]);
    let mut next = VecDeque::from([&*flow.initial_step_id]);
    while let Some(id) = next.pop_front() {
        let layer = layers.get(id).copied().unwrap_or_default() + 1;
        for edge in flow.step(id).map(mainspring::flow::Step::edges).transpose()?.unwrap_or_default() {
            if !layers.contains_key(edge.to) {
                layers.insert(edge.to, layer);
                next.push_back(edge.to);
            }
        }
    }
    Ok(layers)
}

fn label(field: &str) -> String {
    match field {
        "transitions.onSuccess" => "success".to_owned(),
        "transitions.onFailure" => "failure".to_owned(),
        "transitions.onResume" => "resume".to_owned(),
        field => field.trim_start_matches("config.").to_owned(),
    }
}

fn state_of(event: &RecordedEvent) -> Option<State> {
    Some(match &*event.event.event_type {
        kind::STEP_STARTED => State::Running,
        kind::STEP_COMPLETED => State::Completed,
        kind::STEP_FAILED => State::Failed,
        kind::STEP_RETRY => State::Retrying,
        kind::STEP_WAITING => State::Waiting,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use mainspring::NewEvent;
    use serde_json::json;

    use super::*;

    fn flow() -> Flow {
        let step = |id: &str, transitions| json!({"id": id, "type": "transform", "input": {"type": "full"}, "transitions": transitions});
        Flow::from_value(json!({"id": "f", "version": "1.0.0", "initialStepId": "pay", "steps": {
            "pay": step("pay", json!({"onSuccess": "ship", "onFailure": "bad<b>"})),
            "ship": step("ship", json!({"onSuccess": "pay"})),
            "bad<b>": step("bad<b>", json!({})),
        }}))
        .unwrap()
    }

    fn history(events: &[(&str, &str)]) -> Vec<RecordedEvent> {
        let recorded = |(n, (what, step)): (usize, &(&str, &str))| RecordedEvent {
            partition: "executions".to_owned(),
            tenant: String::new(),
            stream: "execution-1".to_owned(),
            position: n as i64 + 1,
            global_position: n as i64 + 1,
            event: NewEvent { subject: Some((*step).to_owned()), ..NewEvent::new(*what, json!({})) },
            created_at: mainspring::Timestamp::MIN,
        };
        events.iter().enumerate().map(recorded).collect()
    }

    #[test]
    fn steps_are_drawn_in_layers_with_what_became_of_them() {
        let events = history(&[
            ("step.started", "pay"),
            ("step.retry", "pay"),
            ("step.started", "pay"),
            ("step.completed", "pay"),
            ("step.started", "ship"),
        ]);
        let graph = Graph::of_flow(&flow()).unwrap().with_states(&events);
        let expected = "✓ pay (transform) completed, 2 runs\n├─ failure → bad<b>\n└─ success → ship\n\
            ○ bad<b> (transform)\n● ship (transform) running\n└─ success → pay\n";
        assert_eq!(graph.text(), expected);
    }

    #[test]
    fn a_history_alone_is_a_chain() {
        let events = history(&[("step.completed", "a"), ("execution.completed", "x"), ("step.failed", "b")]);
        let graph = Graph::of_history(&events).with_states(&events);
        assert_eq!(graph.text(), "✓ a completed\n└─→ b\n✗ b failed\n");
    }

    #[test]
    fn a_picture_is_well_formed_and_escaped() {
        let svg = Graph::of_flow(&flow()).unwrap().svg();
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert!(svg.contains("bad&lt;b&gt;") && !svg.contains("bad<b>"), "{svg}");
        assert_eq!(svg.matches("<rect ").count(), 3);
        assert_eq!(svg.matches("<path class=\"edge").count(), 3);
    }
}
