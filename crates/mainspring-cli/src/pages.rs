//! The pages of the error codes, as the book has them.

macro_rules! pages {
    ($($folder:literal: $($code:literal)*;)*) => {
        /// A code, and its page.
        pub(crate) const PAGES: &[(&str, &str)] = &[$($(($code, include_str!(concat!("../", $folder, "/", $code, ".md"))),)*)*];
    };
}

pages! {
    "errors":
        "busy" "commit_unknown" "conflict" "expired" "fenced" "internal" "invalid" "not_found" "schema"
        "too_early" "unavailable";
    "failures":
        "BAD_REQUEST" "CALL_GIVEN_UP" "CANCELLED" "CHILD_FAILED" "CONFIG_VIOLATION" "CONFLICT" "CONTEXT_LIMIT"
        "CONTRACT_VIOLATION" "EXECUTION_VIOLATION" "FAILED" "FAILURE" "FATAL" "FLOW_NOT_FOUND"
        "FOREIGN_AWAIT" "HANDLER_ERROR" "HANDLER_NOT_FOUND" "HOP_LIMIT" "HTTP_BODY_TOO_LARGE" "HTTP_ERROR"
        "HTTP_HOST_REFUSED" "HTTP_STATUS" "INPUT_ERROR" "INVALID" "INVALID_EVENT" "INVALID_PATTERN"
        "INVALID_STEP" "INVALID_SUBJECT" "INVALID_TRANSITION" "JOB_FAILED" "JOB_STALLED" "MAX_STEPS"
        "NON_DETERMINISM" "NOT_FOUND" "NOT_OVER" "NO_MATCH" "OMITTED" "OTHER_TYPE" "PANIC" "PARENT_FAILED"
        "PAYLOAD" "READ_MACHINE_MEMORY_FAILURE" "RUN_FAILED" "STEP_FAILED" "STEP_NOT_FOUND" "STUCK"
        "TIMEOUT" "UNKNOWN_MESSAGE" "UNREADABLE" "UNSTORABLE" "WORKER_LOST" "WORKFLOW_ERROR";
}
