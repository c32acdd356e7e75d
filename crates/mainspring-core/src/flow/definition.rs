//! Flow definitions as values and as JSON.
//!
//! The JSON is FlowMonkey's, field for field. A field nobody knows is refused with the step it stands in, so a typing error
//! is found when the flow is saved and not when an execution takes a wrong turn.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::{Map, Value};

use super::{FlowBuilder, RetryPolicy, Selector, validate};
use crate::{Error, Result};

/// One version of a flow: steps, and the transitions between them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Flow {
    /// Names the flow over all its versions.
    pub id: String,
    /// Semantic version. A saved version never changes.
    pub version: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// For people, longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Labels to find it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Whether new executions may use it. Defaults to published.
    #[serde(default)]
    pub status: FlowStatus,
    /// Layout of a visual editor, kept as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visual: Option<Value>,
    /// The step every execution starts with.
    pub initial_step_id: String,
    /// The steps by id.
    #[serde(deserialize_with = "read_steps")]
    pub steps: BTreeMap<String, Step>,
    /// Side taps of step outputs, kept as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipes: Option<Value>,
}

impl Flow {
    /// A flow to be put together in code. The first step added is the initial one unless another is named.
    pub fn builder(id: impl Into<String>, version: impl Into<String>) -> FlowBuilder {
        FlowBuilder::new(id.into(), version.into())
    }

    /// Reads and validates a definition.
    ///
    /// # Errors
    /// Invalid, naming the step and the field.
    pub fn from_json(json: &str) -> Result<Self> {
        Self::checked(serde_json::from_str(json))
    }

    /// [`from_json`](Self::from_json) for JSON that is already read.
    ///
    /// # Errors
    /// Invalid, naming the step and the field.
    pub fn from_value(json: Value) -> Result<Self> {
        Self::checked(serde_json::from_value(json))
    }

    fn checked(read: serde_json::Result<Self>) -> Result<Self> {
        let flow = read.map_err(|e| Error::invalid("flow", e))?;
        flow.validate()?;
        Ok(flow)
    }

    /// The definition as JSON text: the same for equal flows, however they were made.
    pub fn to_json(&self) -> String {
        self.to_value().to_string()
    }

    /// The definition as JSON.
    pub fn to_value(&self) -> Value {
        // A flow is maps, text, finite numbers and JSON; a multiplier that is none of these becomes `null`.
        serde_json::to_value(self).unwrap_or_default()
    }

    /// Checks everything that can be known without its handlers. Definitions that were read or built have passed this.
    ///
    /// # Errors
    /// Invalid, naming the step and the field.
    pub fn validate(&self) -> Result<()> {
        validate::flow(self)
    }

    /// Checks that every step has a handler that is `known`.
    ///
    /// # Errors
    /// Invalid, naming the step and the handler.
    pub fn check_handlers(&self, known: &dyn Fn(&str) -> bool) -> Result<()> {
        validate::handlers(self, known)
    }

    /// The step with this id.
    pub fn step(&self, id: &str) -> Option<&Step> {
        self.steps.get(id)
    }
}

/// Whether new executions may use a [`Flow`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowStatus {
    /// Being written; never the latest.
    Draft,
    /// In use.
    #[default]
    Published,
    /// No longer to be used.
    Archived,
}

impl FlowStatus {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Draft, Self::Published, Self::Archived];

    /// Its name in rows and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Published => "published",
            Self::Archived => "archived",
        }
    }
}

impl fmt::Display for FlowStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for FlowStatus {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let known = Self::ALL.into_iter().find(|status| status.as_str() == text);
        known.ok_or_else(|| Error::invalid("flow.status", format!("`{}` is none", text.escape_debug())))
    }
}

/// Which flows are listed, each by one version; all conditions hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FlowFilter {
    /// By the latest version with this status; a flow without one is not listed.
    pub status: FlowStatus,
    /// With ids that begin so. Defaults to any.
    pub prefix: Option<String>,
    /// With this tag on that version. Defaults to any.
    pub tag: Option<String>,
    /// Only those behind this id: the last of the page before.
    pub after: Option<String>,
    /// At most so many, up to 10,000; 0 is 100.
    pub limit: u32,
}

/// What saving a flow did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// This version is new.
    Created,
    /// This version was there with the same content.
    Unchanged,
}

/// One node of a [`Flow`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Step {
    /// Its key in [`Flow::steps`].
    pub id: String,
    /// The handler that does it; `type` in JSON.
    #[serde(rename = "type")]
    pub handler: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Settings of the handler.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub config: Map<String, Value>,
    /// What of the context the handler gets.
    pub input: Selector,
    /// Where in the context its output goes, such as `order.receipt`; nowhere when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_key: Option<String>,
    /// Where it goes on.
    #[serde(default)]
    pub transitions: Transitions,
    /// Whether and how a failure is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// How long one run of the handler may take; milliseconds in JSON.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "write_ms",
        deserialize_with = "read_ms"
    )]
    pub timeout: Option<Duration>,
    /// What the builder was given and could not read: field and problem, for `validate` to report.
    #[serde(skip)]
    pub(super) refused: Option<(&'static str, String)>,
}

/// Where a [`Step`] goes on. A step that is absent ends the execution.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Transitions {
    /// After a success; absent: the execution completes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_success: Option<String>,
    /// After a failure without retries left; absent: the execution fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<String>,
    /// After a wait; absent: as after a success, or this step again when that is absent too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_resume: Option<String>,
}

/// Reads the steps one by one, so that an error names its step and a second definition of one is refused.
fn read_steps<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Step>, D::Error> {
    struct Steps;

    impl<'de> Visitor<'de> for Steps {
        type Value = BTreeMap<String, Step>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object of steps by id")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut steps = BTreeMap::new();
            while let Some(id) = map.next_key::<String>()? {
                let step = map.next_value().map_err(|e| A::Error::custom(format_args!("steps.{id}: {e}")))?;
                if steps.contains_key(&id) {
                    return Err(A::Error::custom(format_args!("steps.{id}: is defined twice")));
                }
                steps.insert(id, step);
            }
            Ok(steps)
        }
    }

    deserializer.deserialize_map(Steps)
}

fn write_ms<S: Serializer>(timeout: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    timeout.map(millis).serialize(serializer)
}

fn read_ms<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_millis))
}

/// Whole milliseconds, cut to what JSON carries.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
