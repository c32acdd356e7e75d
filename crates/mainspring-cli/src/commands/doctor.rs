//! `mainspring doctor`: what is wrong with a database, and how to mend it.

use std::{process::ExitCode, time::Duration};

use mainspring::{
    Error, ErrorKind,
    redis::{Redis, RedisOptions},
};
use mainspring_doctor::{Code, Doctor, DoctorOptions, Finding, RedisFacts, Report};
use serde_json::json;

use crate::{
    Context, Outcome,
    output::{Column, Format, Page, col, maybe, text},
};

/// For the answer of Redis.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Check invariants, too, which reads whole tables.
    #[arg(long)]
    deep: bool,
    /// The role whose grants are looked at. Defaults to the one that connects.
    #[arg(long)]
    role: Option<String>,
    /// How many connections all processes together may open.
    #[arg(long)]
    connections: Option<u32>,
    /// What is not reported, such as fsync_off; may be given several times.
    #[arg(long, value_name = "FINDING")]
    ignore: Vec<Code>,
}

const COLUMNS: [Column<Finding>; 5] = [
    col("severity", |finding| json!(finding.severity)),
    col("code", |finding| text(finding.code)),
    col("subject", |finding| text(&finding.subject)),
    col("problem", |finding| text(&finding.problem)),
    col("mend", |finding| maybe(finding.mend.as_ref())),
];

/// Ends with 0 when nothing is wrong, with 3 when the tables do not fit, and else with 1.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let Args { deep, role, connections, ignore } = args;
    let options = DoctorOptions { deep, role, connections, ignore, ..DoctorOptions::default() };
    let settings = context.settings()?;
    context.output.note(format_args!("database: {settings}"));
    let mut doctor = Doctor::new(settings, context.names()?).with(options);
    if let Some(url) = context.config.get("redis_url") {
        doctor = doctor.redis(ask_redis(url).await);
    }
    let report = doctor.run().await?;
    let code = code(&report);
    if context.output.format == Format::Table {
        for finding in &report.findings {
            context.output.line(&lines(finding))?;
        }
        if report.findings.is_empty() {
            context.output.line("nothing is wrong")?;
        }
    } else {
        context.output.list(&COLUMNS, &Page::all(report.findings), false)?;
    }
    Ok(code)
}

/// How the Redis at this address keeps what it is given.
async fn ask_redis(url: &str) -> mainspring::Result<RedisFacts> {
    let redis = Redis::new(RedisOptions::parse(url)?)?;
    let late = |_| Error::new(ErrorKind::Unavailable, "Redis does not answer");
    let kept = tokio::time::timeout(PATIENCE, redis.settings()).await.map_err(late)??;
    let kept =
        kept.ok_or_else(|| Error::new(ErrorKind::Unavailable, "Redis does not say how it keeps things"))?;
    Ok(RedisFacts { maxmemory_policy: kept.maxmemory_policy, append_only: kept.append_only })
}

fn code(report: &Report) -> ExitCode {
    match (report.is_healthy(), report.is_mismatch()) {
        (true, _) => ExitCode::SUCCESS,
        (false, true) => ExitCode::from(3),
        (false, false) => ExitCode::FAILURE,
    }
}

/// The finding, and what mends it below.
fn lines(finding: &Finding) -> String {
    let mend = finding.mend.iter().flat_map(|mend| mend.lines());
    mend.fold(finding.to_string(), |lines, mend| format!("{lines}\n    {mend}"))
}
