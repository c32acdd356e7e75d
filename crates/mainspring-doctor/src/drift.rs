//! What a schema has, beside what it should have. Pure; what others added is left alone.

use std::collections::BTreeMap;

use mainspring_pg::Names;

use crate::{
    Code, Finding,
    catalog::{Catalog, Column, Table},
    definitions::Definitions,
    mend,
};

/// All differences that matter.
pub(crate) fn compare(
    names: &Names,
    want: &Catalog,
    found: &Catalog,
    defined: &Definitions,
    functions: &BTreeMap<String, Vec<String>>,
) -> Vec<Finding> {
    let mut drift = Drift { names, findings: Vec::new() };
    for sequence in &want.sequences {
        if !found.sequences.contains(sequence) {
            drift.missing("sequence", sequence, format!("CREATE SEQUENCE {};", names.table(sequence)));
        }
    }
    for (name, table) in &want.tables {
        match found.tables.get(name) {
            None => drift.missing("table", name, mend::create_table(names, name, table)),
            Some(there) => drift.table(name, table, there),
        }
    }
    drift.functions(defined, functions);
    for (name, columns) in &want.views {
        let text = defined.views.get(name).cloned().unwrap_or_default();
        match found.views.get(name) {
            None => drift.missing("view", name, text),
            // Columns that a later version added are welcome.
            Some(there) if !there.starts_with(columns) => {
                let found =
                    Finding::new(Code::ColumnChanged, drift.called("view", name), "has other columns");
                drift.findings.push(found.mended_by(format!("DROP VIEW {};\n{text}", names.table(name))));
            }
            Some(_) => {}
        }
    }
    drift.findings
}

struct Drift<'a> {
    names: &'a Names,
    findings: Vec<Finding>,
}

impl Drift<'_> {
    fn called(&self, what: &str, name: &str) -> String {
        format!("{what} {}{name}", self.names.prefix())
    }

    fn push(&mut self, code: Code, what: &str, name: &str, problem: impl Into<String>, mend: String) {
        let finding = Finding::new(code, self.called(what, name), problem);
        self.findings.push(finding.mended_by(mend));
    }

    fn missing(&mut self, what: &str, name: &str, mend: String) {
        self.push(Code::RelationMissing, what, name, "is missing", mend);
    }

    fn table(&mut self, name: &str, want: &Table, found: &Table) {
        let names = self.names;
        for column in &want.columns {
            self.column(name, column, found.columns.iter().find(|there| there.name == column.name));
        }
        if want.partition_of.is_some() {
            return; // what else it has is its table's
        }
        for (constraint, text) in &want.constraints {
            match found.constraints.get(constraint) {
                None => {
                    let mend = mend::add_constraint(names, name, constraint, text);
                    self.push(
                        Code::ConstraintMissing,
                        "constraint",
                        constraint,
                        format!("is missing: {text}"),
                        mend,
                    );
                }
                Some(there) if there != text => {
                    let mend = mend::replace_constraint(names, name, constraint, text);
                    let problem = format!("is {there}, not {text}");
                    self.push(Code::ConstraintChanged, "constraint", constraint, problem, mend);
                }
                Some(_) => {}
            }
        }
        let live = want.partitioned_by.is_empty(); // CONCURRENTLY is not for partitioned tables
        for (index, what) in &want.indexes {
            let replace = || mend::replace_index(names, name, index, what, live);
            match found.indexes.get(index) {
                None => {
                    let mend = mend::create_index(names, name, index, what, live);
                    self.push(Code::IndexMissing, "index", index, "is missing", mend);
                }
                Some(there) if (there.unique, &there.on) != (what.unique, &what.on) => {
                    let problem = format!("is {}, not {}", there.on, what.on);
                    self.push(Code::IndexChanged, "index", index, problem, replace());
                }
                Some(there) if there.invalid => {
                    self.push(Code::IndexInvalid, "index", index, "was never finished", replace());
                }
                Some(_) => {}
            }
        }
        for (trigger, text) in &want.triggers {
            let create = mend::create_trigger(names, trigger, text);
            match found.triggers.get(trigger) {
                None => self.push(Code::ConstraintMissing, "trigger", trigger, "is missing", create),
                Some(there) if there != text => {
                    let drop = format!(
                        "DROP TRIGGER {} ON {};",
                        mend::quoted(&format!("{}{trigger}", names.prefix())),
                        names.table(name)
                    );
                    self.push(
                        Code::ConstraintChanged,
                        "trigger",
                        trigger,
                        format!("is {there}"),
                        format!("{drop}\n{create}"),
                    );
                }
                Some(_) => {}
            }
        }
    }

    fn column(&mut self, table: &str, want: &Column, found: Option<&Column>) {
        let name = format!("{table}.{}", want.name);
        let Some(found) = found else {
            let mend = mend::add_column(self.names, table, want);
            return self.push(
                Code::ColumnMissing,
                "column",
                &name,
                format!("({}) is missing", want.kind),
                mend,
            );
        };
        let mut problems = Vec::new();
        for (what, want, found) in [
            ("type", &want.kind, &found.kind),
            ("collation", &want.collation, &found.collation),
            ("value", &want.value, &found.value),
        ] {
            if want != found {
                let shown =
                    |text: &str| if text.is_empty() { "none".to_owned() } else { format!("`{text}`") };
                problems.push(format!("its {what} is {}, not {}", shown(found), shown(want)));
            }
        }
        if want.not_null != found.not_null {
            problems.push(format!("it {} be NULL", if want.not_null { "may" } else { "must not" }));
        }
        if !problems.is_empty() {
            let mend = mend::alter_column(self.names, table, want, found);
            self.push(Code::ColumnChanged, "column", &name, problems.join("; "), mend);
        }
    }

    fn functions(&mut self, defined: &Definitions, found: &BTreeMap<String, Vec<String>>) {
        for (name, function) in &defined.functions {
            match found.get(name) {
                None => {
                    self.push(Code::FunctionMissing, "function", name, "is missing", function.text.clone());
                }
                Some(bodies) if !bodies.contains(&function.body) => {
                    self.push(
                        Code::FunctionChanged,
                        "function",
                        name,
                        "has another body",
                        function.text.clone(),
                    );
                }
                Some(_) => {}
            }
        }
    }
}
