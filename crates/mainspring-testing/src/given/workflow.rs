//! A workflow driven by events: what it heard and emitted, an input, what it emits.

use std::fmt::{Debug, Write as _};

use mainspring_core::{Emit, EventWorkflow, event_workflow::Entry};

use super::when::{When, begin, read_back};

/// An instance of a workflow with this in its stream.
///
/// ```
/// # use mainspring_core::{DomainEvent, EventWorkflow, event_workflow::Entry};
/// # use serde::{Deserialize, Serialize};
/// use mainspring_core::{Emit, event_workflow::Entry::{Input, Output}};
/// use mainspring_testing::given_workflow;
///
/// # #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
/// # enum Heard { Ordered, Paid }
/// # impl DomainEvent for Heard {}
/// # #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
/// # enum Said { Ask, Ready }
/// # impl DomainEvent for Said {}
/// # struct Payments;
/// # impl EventWorkflow for Payments {
/// #     type Input = Heard; type Output = Said; type State = bool; type Error = String;
/// #     fn name(&self) -> &str { "payment" }
/// #     fn input_types(&self) -> Vec<String> { vec!["Ordered".into(), "Paid".into()] }
/// #     fn id_of(&self, _: &Heard) -> Option<String> { Some("1".into()) }
/// #     fn initial(&self) -> bool { false }
/// #     fn decide(&self, input: &Heard, asked: &bool) -> Result<Vec<Emit<Said>>, String> {
/// #         match (input, asked) {
/// #             (Heard::Ordered, false) => Ok(vec![Emit::push("payments", Said::Ask)]),
/// #             (Heard::Ordered, true) => Ok(vec![]),
/// #             (Heard::Paid, true) => Ok(vec![Emit::append("orders", Said::Ready)]),
/// #             (Heard::Paid, false) => Err("nobody asked for it".into()),
/// #         }
/// #     }
/// #     fn evolve(&self, asked: bool, entry: Entry<&Heard, &Said>) -> bool {
/// #         asked || entry == Entry::Output(&Said::Ask)
/// #     }
/// # }
/// given_workflow(&Payments, []).when(Heard::Ordered).then([Emit::push("payments", Said::Ask)]);
/// let asked = [Input(Heard::Ordered), Output(Said::Ask)];
/// given_workflow(&Payments, asked.clone()).when(Heard::Ordered).then_nothing();
/// given_workflow(&Payments, asked).when(Heard::Paid).then([Emit::append("orders", Said::Ready)]);
/// given_workflow(&Payments, []).when(Heard::Paid).then_refused("nobody asked for it");
/// ```
pub fn given_workflow<W>(
    workflow: &W,
    entries: impl IntoIterator<Item = Entry<W::Input, W::Output>>,
) -> GivenWorkflow<'_, W>
where
    W: EventWorkflow,
    W::Input: Debug,
    W::Output: Debug,
{
    let entries: Vec<Entry<W::Input, W::Output>> = entries.into_iter().collect();
    let story = begin(&entries);
    let state = entries.iter().fold(workflow.initial(), |state, entry| match entry {
        Entry::Input(input) => workflow.evolve(state, Entry::Input(input)),
        Entry::Output(output) => workflow.evolve(state, Entry::Output(output)),
    });
    GivenWorkflow { workflow, state, story }
}

/// What was there before the input; see [`given_workflow()`].
#[must_use = "nothing is tested until an input comes in"]
pub struct GivenWorkflow<'w, W: EventWorkflow> {
    workflow: &'w W,
    state: W::State,
    story: String,
}

impl<W: EventWorkflow> GivenWorkflow<'_, W>
where
    W::Input: Debug + PartialEq,
    W::Output: Debug + PartialEq,
{
    /// What the workflow emits when `input` comes in.
    ///
    /// # Panics
    /// When the input is for no instance, or is another one when the log gives it back, telling the whole story.
    #[must_use = "say what is expected"]
    #[track_caller]
    pub fn when(self, input: W::Input) -> When<Emit<W::Output>, W::State, W::Error> {
        let Self { workflow, mut state, mut story } = self;
        let _ = writeln!(story, "when\n    {input:?}");
        if let Err(problem) = read_back(&input) {
            panic!("{story}{problem}\n");
        }
        if workflow.id_of(&input).is_none() {
            panic!("{story}it is for no instance\n");
        }
        let decided = workflow.decide(&input, &state);
        if let Ok(emitted) = &decided {
            state = workflow.evolve(state, Entry::Input(&input));
            for emit in emitted {
                state = workflow.evolve(state, Entry::Output(&emit.output));
            }
        }
        When { decided, state, story, survives: |emit| read_back(&emit.output) }
    }
}
