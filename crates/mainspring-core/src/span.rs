//! The catalogue of spans: every name, its level and kind, its parent and its attributes. Nothing here is traced; the crates that do
//! the work do that, through the facade `tracing`, so that an application chooses who listens. A test holds the crates to this list,
//! both ways, and docs/operations/spans.md is written from it.
//!
//! Attributes are names, ids and numbers, never what is in a message, an event or a result. Three are no attributes of what is
//! exported but say where it belongs: `traceparent` with `tracestate` is the span that led here, and `links` are spans it refers to.

/// What a span is to the other side, in OpenTelemetry's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpanKind {
    /// Nobody else is in it.
    Internal,
    /// It sends.
    Producer,
    /// It handles what was sent.
    Consumer,
    /// It asks and waits.
    Client,
    /// It answers.
    Server,
}

impl SpanKind {
    /// The word in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// One span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its name.
    pub name: &'static str,
    /// `info` or `debug`.
    pub level: &'static str,
    /// What it is to the other side.
    pub kind: SpanKind,
    /// Its attributes, some of which may be left out.
    pub attributes: &'static [&'static str],
    /// When there is one.
    pub when: &'static str,
    /// The span it is within.
    pub parent: &'static str,
}

macro_rules! spans {
    ($($kind:ident $level:ident $name:literal [$($attribute:literal),*] $when:literal in $parent:literal;)*) => {
        /// All of them.
        pub const ALL: &[Span] = &[
            $(Span {
                name: $name,
                level: stringify!($level),
                kind: SpanKind::$kind,
                attributes: &[$($attribute),*],
                when: $when,
                parent: $parent,
            },)*
        ];
    };
}

spans! {
    Internal info "mainspring.start" ["flow", "execution", "error", "otel.status_code"]
        "An execution is created; what drives it belongs to this span." in "the caller's";
    Internal info "mainspring.resume" ["execution", "error", "otel.status_code"]
        "A waiting execution is resumed by a token or by its id." in "the caller's";
    Producer info "mainspring.push" ["queue", "messages"]
        "Messages are pushed or published; `queue` is that of the first." in "the caller's";
    Producer info "mainspring.fire" ["queue", "schedule", "tick", "message"]
        "A schedule fires; what handles its message belongs to this span." in "none";
    Consumer info "mainspring.deliver"
        ["queue", "messages", "message", "message_type", "attempt", "traceparent", "tracestate", "links", "outcome", "error", "otel.status_code"]
        "A message is handled, or a batch of them; `outcome` is `completed`, `committed`, `failed`, `snoozed`, `dead_lettered`, `put_back` or `mixed`."
        in "the span the message was pushed in; none for a batch, which is linked to those of all its messages. A later try is linked to the one before";
    Internal info "mainspring.drive" ["execution", "flow", "version", "traceparent"]
        "An execution takes its steps until it rests; linked to the trace it was created in when it is woken from another one."
        in "`mainspring.deliver`, or the caller's where an execution runs in the process that starts it";
    Internal info "mainspring.step" ["execution", "flow", "step", "attempt", "links", "error", "otel.status_code"]
        "A try of a step's handler or closure; linked to the try before when that was part of the same drive." in "`mainspring.drive`";
    Internal info "mainspring.job" ["execution", "step", "job", "attempt", "error", "otel.status_code"]
        "A run of a job." in "`mainspring.deliver`";
    Internal debug "mainspring.replay" ["execution", "rows", "counted"]
        "The history of a workflow was read." in "`mainspring.drive`";
    Client info "mainspring.call" ["called", "message", "attempt", "traceparent", "tracestate", "reply"]
        "A world calls a workflow or a step; `reply` is `ok`, `again`, `unavailable`, `unauthorized`, `bad_request` or `failed`."
        in "`mainspring.deliver`, also where a transport of one's own brought the message back";
    Server info "mainspring.endpoint" ["called", "message", "attempt", "traceparent", "tracestate"]
        "An application is called, over HTTP or in the same process." in "`mainspring.call`";
    Producer info "mainspring.append" ["stream", "partition", "tenant", "streams", "events", "traceparent", "position", "error"]
        "Events are appended in one commit; stream, partition and tenant are those of the first append." in "the caller's";
    Internal info "mainspring.read" ["stream", "partition", "tenant", "events", "position", "error"]
        "A page of a stream is read." in "the caller's";
    Internal info "mainspring.fold" ["stream", "partition", "tenant", "events", "position"]
        "A stream is folded into a state." in "the caller's";
    Internal info "mainspring.project" ["stream", "events", "traceparent"]
        "Inline projections of one commit are kept." in "`mainspring.append`";
    Internal info "mainspring.process" ["processor", "stream", "events", "from", "checkpoint"]
        "A processor handles a batch of events and moves its checkpoint; `stream` is that of the first." in "none";
    Consumer info "mainspring.react" ["processor", "stream", "partition", "tenant", "event", "position", "traceparent"]
        "A reactor handles an event; linked to the batch." in "the span the event was appended in, else `mainspring.process`";
    Consumer info "mainspring.broker.handle"
        ["otel.name", "otel.kind", "arvo.handler.execution.type", "arvo.handler.execution.status", "cloudevents.event_id",
         "cloudevents.event_source", "cloudevents.event_type", "cloudevents.event_subject", "cloudevents.arvo.event_to", "traceparent"]
        "A handler of the broker handles an event; exported as `<handler>@<event type>`." in "`mainspring.deliver`";
    Internal info "PostgresMachineMemory.v1.read" ["otel.status_code", "otel.status_description", "subject", "available"]
        "The memory of a machine is read. Those of the memory are there unless `enable_otel` says no." in "the caller's";
    Internal info "PostgresMachineMemory.v1.write" ["otel.status_code", "otel.status_description", "subject", "isNew", "version"]
        "It is written." in "the caller's";
    Internal info "PostgresMachineMemory.v1.lock" ["otel.status_code", "otel.status_description", "subject", "acquired", "attempts"]
        "Its lock is asked for." in "the caller's";
    Internal info "PostgresMachineMemory.v1.unlock" ["otel.status_code", "otel.status_description", "subject"]
        "Its lock is given back." in "the caller's";
    Internal info "PostgresMachineMemory.v1.cleanup" ["otel.status_code", "otel.status_description", "subject", "skipped"]
        "What is over is forgotten." in "the caller's";
    Internal info "PostgresMachineMemory.v1.getRootSubject" ["otel.status_code", "otel.status_description", "subject", "found", "isRoot"]
        "The top of a family is looked up." in "the caller's";
    Internal info "PostgresMachineMemory.v1.getSubjectsByRoot" ["otel.status_code", "otel.status_description", "rootSubject", "count"]
        "A family is looked up." in "the caller's";
}

/// The span of this name.
pub fn find(name: &str) -> Option<&'static Span> {
    ALL.iter().find(|span| span.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_say_when() {
        for span in ALL {
            assert_eq!(ALL.iter().filter(|other| other.name == span.name).count(), 1, "{}", span.name);
            assert!(span.when.ends_with('.') && !span.parent.is_empty(), "{}", span.name);
            assert!(["info", "debug"].contains(&span.level), "{}", span.name);
        }
    }
}
