-- The tables of Kingfisher Process that its commands and our module use, by the same names and types.
CREATE TABLE collection (
    id serial PRIMARY KEY,
    source_id text NOT NULL,
    data_version timestamp with time zone NOT NULL,
    sample boolean NOT NULL DEFAULT false,
    steps jsonb NOT NULL DEFAULT '{}',
    options jsonb NOT NULL DEFAULT '{}',
    expected_files_count integer,
    compilation_started boolean NOT NULL DEFAULT false,
    transform_from_collection_id integer REFERENCES collection (id),
    transform_type text NOT NULL DEFAULT '',
    data_type jsonb,
    cached_releases_count integer,
    cached_records_count integer,
    cached_compiled_releases_count integer,
    store_start_at timestamp with time zone NOT NULL DEFAULT now(),
    store_end_at timestamp with time zone,
    deleted_at timestamp with time zone,
    completed_at timestamp with time zone
);
CREATE UNIQUE INDEX unique_collection_identifiers ON collection (source_id, data_version, sample)
WHERE transform_type = '';

CREATE TABLE collection_file (
    id serial PRIMARY KEY,
    collection_id integer NOT NULL REFERENCES collection (id),
    filename text NOT NULL,
    url text NOT NULL DEFAULT '',
    UNIQUE (collection_id, filename)
);

CREATE TABLE processing_step (
    id serial PRIMARY KEY,
    collection_id integer REFERENCES collection (id),
    collection_file_id integer REFERENCES collection_file (id),
    ocid text,
    name text NOT NULL
);

CREATE TABLE collection_note (
    id serial PRIMARY KEY,
    collection_id integer NOT NULL REFERENCES collection (id),
    note text NOT NULL,
    data jsonb,
    stored_at timestamp with time zone NOT NULL DEFAULT now(),
    code text NOT NULL DEFAULT ''
);

CREATE TABLE release (id bigserial PRIMARY KEY, collection_id integer NOT NULL REFERENCES collection (id), ocid text);
CREATE TABLE record (LIKE release INCLUDING ALL);
CREATE TABLE compiled_release (LIKE release INCLUDING ALL);
