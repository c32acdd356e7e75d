//! End to end, on a real Postgres, with real processes: what breaks, and what must be true afterwards. The numbers are those of
//! the fault list (F01 …) and of the scenarios every façade must pass (X1 …).

mod kills;
