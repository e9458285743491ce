"""What every test can ask for: databases, a run in which nothing is skipped unseen, and no process left behind."""

# The databases import the leftovers: pytest wants to be the first to import a plugin.
pytest_plugins = ["tests.support.leftovers", "tests.support.databases", "tests.support.must_run"]
