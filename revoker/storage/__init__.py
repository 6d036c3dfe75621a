"""PostgreSQL: the truth, and the only place with SQL."""
