-- The tables of Pelican backend that its command `remove` and our module use, by the same names and types.
CREATE TABLE dataset (
    id bigserial PRIMARY KEY,
    name character varying(255) NOT NULL,
    meta jsonb NOT NULL,
    ancestor_id bigint,
    created timestamp without time zone DEFAULT CURRENT_TIMESTAMP,
    modified timestamp without time zone DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE dataset_filter (
    id bigserial PRIMARY KEY,
    dataset_id_original bigint NOT NULL REFERENCES dataset (id),
    dataset_id_filtered bigint NOT NULL REFERENCES dataset (id),
    filter_message jsonb NOT NULL
);

CREATE TABLE progress_monitor_dataset (
    id bigserial PRIMARY KEY,
    dataset_id bigint NOT NULL UNIQUE REFERENCES dataset (id),
    state character varying(255) NOT NULL,
    phase character varying(255) NOT NULL,
    size integer,
    created timestamp without time zone DEFAULT CURRENT_TIMESTAMP,
    modified timestamp without time zone DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE data_item (
    id bigserial PRIMARY KEY,
    data jsonb NOT NULL,
    dataset_id bigint NOT NULL REFERENCES dataset (id)
);

CREATE TABLE progress_monitor_item (
    id bigserial PRIMARY KEY,
    dataset_id bigint NOT NULL REFERENCES dataset (id),
    item_id bigint NOT NULL REFERENCES data_item (id),
    state character varying(255) NOT NULL
);

CREATE TABLE field_level_check (
    id bigserial PRIMARY KEY,
    data_item_id bigint NOT NULL REFERENCES data_item (id),
    dataset_id bigint NOT NULL REFERENCES dataset (id),
    result jsonb NOT NULL
);

CREATE TABLE resource_level_check (LIKE field_level_check INCLUDING ALL);
CREATE TABLE field_level_check_examples (id bigserial PRIMARY KEY, dataset_id bigint NOT NULL, data jsonb, path text);
CREATE TABLE resource_level_check_examples (
    id bigserial PRIMARY KEY, dataset_id bigint NOT NULL, data jsonb, check_name text
);
CREATE TABLE report (id bigserial PRIMARY KEY, dataset_id bigint NOT NULL, type text, data jsonb NOT NULL);
CREATE TABLE dataset_level_check (id bigserial PRIMARY KEY, dataset_id bigint NOT NULL, check_name text, meta jsonb);
CREATE TABLE time_variance_level_check (LIKE dataset_level_check INCLUDING ALL);

CREATE TABLE exchange_rates (
    id bigserial PRIMARY KEY,
    valid_on date NOT NULL UNIQUE,
    rates jsonb NOT NULL,
    created timestamp without time zone DEFAULT CURRENT_TIMESTAMP,
    modified timestamp without time zone DEFAULT CURRENT_TIMESTAMP
);
