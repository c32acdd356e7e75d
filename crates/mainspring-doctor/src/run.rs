//! One examination, each part by itself.

use std::cmp::Reverse;

use mainspring_core::{ErrorKind, Result};
use mainspring_pg::{Db, Deadlines, MigrationState, Migrator, Names, Settings, Status, pool, row::get};

use crate::{
    Code, DoctorOptions, Finding, RedisFacts, Report, catalog, decode, deep, definitions::Definitions, drift,
    grants, judge_redis, pinned, server, work,
};

/// Examines the tables of one schema and prefix. It changes nothing.
#[derive(Debug, Clone)]
pub struct Doctor {
    settings: Settings,
    names: Names,
    options: DoctorOptions,
    beside: Vec<Finding>,
}

impl Doctor {
    /// For these tables of this database. Connect as the role the application uses, so that its grants are looked at.
    pub fn new(settings: Settings, names: Names) -> Self {
        Self { settings, names, options: DoctorOptions::default(), beside: Vec::new() }
    }

    /// With other options.
    #[must_use]
    pub fn with(mut self, options: DoctorOptions) -> Self {
        self.options = options;
        self
    }

    /// Judges the Redis beside the database too, by what its driver found out.
    #[must_use]
    pub fn redis(mut self, asked: Result<RedisFacts>) -> Self {
        self.beside.extend(match asked {
            Ok(facts) => judge_redis(&facts),
            Err(error) => vec![Finding::new(Code::CheckFailed, "Redis", error.chain())],
        });
        self
    }

    /// Looks at everything.
    ///
    /// # Errors
    /// When the database cannot be reached. Whatever else goes wrong is a finding.
    pub async fn run(&self) -> Result<Report> {
        let migrator = Migrator::new(self.settings.clone(), self.names.clone());
        let mut report = Report::default();
        match migrator.status().await {
            Ok(status) => history(&status, &mut report),
            Err(error) if error.kind() == ErrorKind::Schema => {
                report.findings.push(Finding::new(
                    Code::HistoryBroken,
                    "history of the migrations",
                    error.chain(),
                ));
            }
            Err(error) => return Err(error),
        }
        let fits = !report.is_mismatch();
        let pool = pool(&self.settings, 1)?;
        let db =
            Db::with_statements(pool, self.names.clone(), Deadlines::default(), self.settings.statements());
        let options = &self.options;
        let server = async { Ok(server::judge(&server::read(&db).await?, options.connections)) };
        report.add("server", server.await);
        report.add("old transactions", pinned::check(&db, options.transaction_age).await);
        if fits {
            // One that is ahead may have dropped what this binary knows.
            if report.schema_version == report.needed_version {
                report.add("schema", self.drift(&db, &migrator).await);
            }
            report.add("grants", grants::check(&db, options.role.as_deref()).await);
            report.add("work", work::check(&db, options).await);
            if options.deep {
                report.add("invariants", deep::check(&db).await);
                report.add("rows", decode::check(&db).await);
            }
        }
        report.findings.extend(self.beside.iter().cloned());
        report.findings.retain(|finding| !options.ignore.contains(&finding.code));
        report.findings.sort_by_key(|finding| (Reverse(finding.severity), finding.code));
        Ok(report)
    }

    async fn drift(&self, db: &Db<'_>, migrator: &Migrator) -> Result<Vec<Finding>> {
        let schema: String = get(&db.one("SELECT quote_ident($1::text)", &[&self.names.schema()]).await?, 0)?;
        let want = catalog::expected(&self.names, &schema)?;
        let defined = Definitions::read(&migrator.print()?, &self.names);
        let found = catalog::read(db).await?;
        Ok(drift::compare(&self.names, &want, &found, &defined, &catalog::functions(db).await?))
    }
}

fn history(status: &Status, report: &mut Report) {
    for (version, _, _, state) in &status.migrations {
        match state {
            MigrationState::Applied(_) => {
                (report.schema_version, report.needed_version) = (*version, *version);
            }
            MigrationState::Pending => report.needed_version = *version,
            _ => report.schema_version = *version,
        }
    }
    let (there, needed) = (report.schema_version, report.needed_version);
    if there < needed {
        let problem = format!("is {there}, and this version needs {needed}");
        let finding = Finding::new(Code::SchemaOld, "version of the schema", problem);
        report.findings.push(finding.mended_by("mainspring migrate up"));
    } else if there > needed {
        let problem = format!("is {there}, ahead of this version, which knows {needed}");
        report.findings.push(Finding::new(Code::SchemaNewer, "version of the schema", problem));
    }
}

impl Report {
    fn add(&mut self, what: &str, looked: Result<Vec<Finding>>) {
        match looked {
            Ok(found) => self.findings.extend(found),
            Err(error) => self.findings.push(Finding::new(Code::CheckFailed, what, error.chain())),
        }
    }
}
