//! What the role of the application may do. The library reads and writes every table of its own, and changes none.

use std::collections::BTreeMap;

use mainspring_core::Result;
use mainspring_pg::{Db, row::get};

use crate::{Code, Finding, mend::quoted};

pub(crate) async fn check(db: &Db<'_>, role: Option<&str>) -> Result<Vec<Finding>> {
    let role: String = match role {
        Some(role) => role.to_owned(),
        None => get(&db.one("SELECT current_user::text", &[]).await?, 0)?,
    };
    if db.opt("SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = $1::text", &[&role]).await?.is_none() {
        let finding = Finding::new(Code::RoleMissing, format!("role {role}"), "does not exist");
        return Ok(vec![finding.mended_by(format!("CREATE ROLE {} LOGIN;", quoted(&role)))]);
    }
    let mut missing: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for row in db.all(MISSING, &[&role, &db.names().schema(), &db.names().prefix()]).await? {
        missing.entry((get(&row, 0)?, get(&row, 1)?)).or_default().push(get(&row, 2)?);
    }
    let finding = |((kind, name), rights): ((String, String), Vec<String>)| {
        let rights = rights.join(", ");
        let problem = format!("role {role} may not {rights}");
        let grant = format!("GRANT {rights} ON {kind} {name} TO {};", quoted(&role));
        Finding::new(Code::GrantMissing, format!("{} {name}", kind.to_lowercase()), problem).mended_by(grant)
    };
    Ok(missing.into_iter().map(finding).collect())
}

/// Kind and name as GRANT wants them, and the right that is missing. A view is only read, and so is the history of the migrations.
const MISSING: &str = "WITH ours AS (
    SELECT c.oid, c.relname, c.relkind FROM pg_catalog.pg_class c
    WHERE c.relnamespace = (SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname = $2::text)
      AND starts_with(c.relname, $3::text) AND pg_catalog.has_schema_privilege($1::text, c.relnamespace, 'USAGE')
  )
  SELECT 'SCHEMA' AS kind, quote_ident(n.nspname) AS name, 'USAGE' AS missing FROM pg_catalog.pg_namespace n
  WHERE n.nspname = $2::text AND NOT pg_catalog.has_schema_privilege($1::text, n.oid, 'USAGE')
  UNION ALL
  SELECT 'TABLE', quote_ident($2::text) || '.' || quote_ident(o.relname), r.name FROM ours o
  CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS r(name)
  WHERE o.relkind IN ('r', 'p', 'v') AND (r.name = 'SELECT' OR (o.relkind <> 'v' AND o.relname <> $3::text || 'schema_history'))
    AND NOT pg_catalog.has_table_privilege($1::text, o.oid, r.name)
  UNION ALL
  SELECT 'SEQUENCE', quote_ident($2::text) || '.' || quote_ident(o.relname), r.name FROM ours o
  CROSS JOIN unnest(ARRAY['SELECT', 'USAGE']) AS r(name)
  WHERE o.relkind = 'S' AND NOT pg_catalog.has_sequence_privilege($1::text, o.oid, r.name)
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
      WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = o.oid AND d.deptype = 'i')
  UNION ALL
  SELECT 'FUNCTION', p.oid::regprocedure::text, 'EXECUTE' FROM pg_catalog.pg_proc p
  WHERE p.pronamespace = (SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname = $2::text)
    AND starts_with(p.proname, $3::text) AND NOT pg_catalog.has_function_privilege($1::text, p.oid, 'EXECUTE')
  ORDER BY 1, 2, 3";
