-- How long the lease of a worker lasts. One that ends later than that from now is from before the database's clock went back, and
-- would keep what a dead worker holds until the clock is there again.
ALTER TABLE {workers} ADD COLUMN lease_us bigint;
