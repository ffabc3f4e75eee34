"""What PostgresqlSource and PostgresqlSink have in common: a server, and a table of events."""
