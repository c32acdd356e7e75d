-- A message that is done leaves `messages`; so does one that is put off or given up, and enters another table.
CREATE TABLE {prefix}book (n bigint NOT NULL, what text NOT NULL);
CREATE FUNCTION {prefix}note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    INSERT INTO {prefix}book VALUES ((old.data->>'n')::bigint, TG_ARGV[0]);
  ELSE
    INSERT INTO {prefix}book VALUES ((new.data->>'n')::bigint, TG_ARGV[0]);
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER book AFTER INSERT ON {messages} FOR EACH ROW EXECUTE FUNCTION {prefix}note('messages');
CREATE TRIGGER book_gone AFTER DELETE ON {messages} FOR EACH ROW EXECUTE FUNCTION {prefix}note('messages gone');
CREATE TRIGGER book AFTER INSERT ON {deferred} FOR EACH ROW EXECUTE FUNCTION {prefix}note('deferred again');
CREATE TRIGGER book AFTER INSERT ON {dead_letters} FOR EACH ROW EXECUTE FUNCTION {prefix}note('dead');
