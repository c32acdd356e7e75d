//! How executions are found by their search attributes.

use mainspring_core::{Attribute, AttributeBound, Attributes, sortable};
use mainspring_pg::{Query, row::to_json};
use serde_json::Value;

/// The condition on the rows of a table of executions, with the numbers of the arguments that [`search`] binds: what is equal by
/// the index, which has only rows with attributes; then what is within the bounds.
macro_rules! searched {
    ($t:literal, $equal:literal, $names:literal, $values:literal, $least:literal, $most:literal) => {
        concat!(
            $t, ".attributes @> $", $equal, " AND ", $t, ".attributes <> '{}'
     AND NOT EXISTS (
       SELECT FROM unnest($", $names, "::text[], $", $values, "::jsonb[], $", $least, "::int[], $", $most, "::int[])
         AS b(name, value, least, most)
       WHERE (CASE
           WHEN jsonb_typeof(", $t, ".attributes->b.name) IS DISTINCT FROM jsonb_typeof(b.value) THEN NULL
           WHEN jsonb_typeof(b.value) = 'number' THEN sign(jsonb_cmp(", $t, ".attributes->b.name, b.value))
           ELSE sign(bttextcmp(
             regexp_replace(", $t, ".attributes->>b.name, '^(\\d\\d\\d\\d-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d([.]\\d+)?)Z$', '\\1') COLLATE \"C\",
             b.value#>>'{}'))
         END BETWEEN b.least AND b.most) IS NOT TRUE)"
        )
    };
}
pub(crate) use searched;

/// Binds what [`searched`] asks for.
pub(crate) fn search(query: Query, equal: &Attributes, bounds: &[AttributeBound]) -> Query {
    let signs = |bound: &AttributeBound| bound.compare.signs();
    query
        .bind(to_json(Some(equal)))
        .bind(bounds.iter().map(|bound| bound.name.clone()).collect::<Vec<String>>())
        .bind(bounds.iter().map(|bound| value(&bound.value)).collect::<Vec<Value>>())
        .bind(bounds.iter().map(|bound| signs(bound).0).collect::<Vec<i32>>())
        .bind(bounds.iter().map(|bound| signs(bound).1).collect::<Vec<i32>>())
}

fn value(attribute: &Attribute) -> Value {
    match attribute {
        Attribute::Bool(value) => (*value).into(),
        Attribute::Integer(value) => (*value).into(),
        Attribute::Number(value) => (*value).into(),
        Attribute::Text(value) => sortable(value).into(),
    }
}
