  LIMIT (SELECT r.n FROM room r) - (SELECT count(*) FROM suspects)
  FOR UPDATE SKIP LOCKED
