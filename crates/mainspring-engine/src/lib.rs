//! The Mainspring flow engine: versioned flows, durable steps, one commit a step.
