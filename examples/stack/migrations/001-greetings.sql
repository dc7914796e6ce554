-- May be run again: changes nothing that is there.
SET client_min_messages = warning;

CREATE TABLE IF NOT EXISTS greetings (
    id   integer PRIMARY KEY,
    text text NOT NULL
);

INSERT INTO greetings VALUES (0, 'Hello'), (1, 'Welcome back'), (2, 'You again?')
    ON CONFLICT DO NOTHING;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'www-data') THEN
        CREATE ROLE "www-data" LOGIN;
    END IF;
END
$$;

GRANT SELECT ON greetings TO "www-data";
